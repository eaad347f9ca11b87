"""What every test of the lab needs: root, and the private world of ``lab.py run``; see README.md.

And what several want: ``three`` hosts named by the module's ``NAMES`` (name -> Debian), and a ``fleet`` of them with a
plan and a journal of its own, whose hosts are as before when the test is over.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # labkit is no package of the project: it runs without it

from labkit import hosts, world
from labkit.faults import Fleet


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session", autouse=True)
def _world() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the lab makes namespaces and mounts")
    if not world.inside():
        # not a skip: root can run these, and a green run that left them out would say too much
        pytest.fail(
            "these tests run in a private world: python3 tests/lab/lab.py run -- .venv/bin/python -m pytest tests/lab",
            pytrace=False,
        )


@pytest.fixture(scope="module")
def three(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    specs = {name: hosts.Spec(f"boot:{suite}", groups=("web",)) for name, suite in request.module.NAMES.items()}
    with hosts.up(specs) as names:
        yield names


@pytest.fixture
def fleet(three: list[str], tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(three, tmp_path)
    made.planned()
    yield made
    made.as_before()
