"""Two virtual machines for all tests here: a boot takes half a minute. Each test leaves them as it found them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, inventory
from labkit.hosts import Spec

MACHINES = {"vm12": "bookworm", "vm13": "trixie"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_link_mtu.py")  # last: it changes who configures the network
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session")
def machines() -> Iterator[list[str]]:
    if inventory.load().keys() >= MACHINES.keys():  # lab.py run -H vm12=vm:bookworm -H vm13=vm:trixie -- bash
        for name in MACHINES:
            hosts.ready(name)
        yield list(MACHINES)
        return
    with hosts.up({name: Spec(f"vm:{suite}", groups=(suite,)) for name, suite in MACHINES.items()}) as names:
        yield names
