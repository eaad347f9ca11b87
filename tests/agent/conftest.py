"""Network namespaces for the tests that ask a real kernel."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent.namespaces import setns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Space:
    """A network namespace with a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *commands: str) -> None:
        """Run ip(8) commands inside, in one batch."""
        batch = "\n".join(commands).encode()
        done = subprocess.run(["ip", "-netns", self.name, "-batch", "-"], input=batch, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    def run(self, *command: str) -> str:
        """Run a command inside and return what it printed."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command], check=True, capture_output=True, text=True
        ).stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread be inside; /proc and netlink follow, /sys does not."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            setns(there)
            yield
        finally:
            setns(own)
            os.close(there)
            os.close(own)


@pytest.fixture
def netns() -> Iterator[Callable[[], Space]]:
    """Make network namespaces; they are gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    made: list[Space] = []

    def make() -> Space:
        space = Space(f"ha{os.getpid()}-{len(made)}")
        made.append(space)
        subprocess.run(["ip", "netns", "add", space.name], check=True)
        return space

    yield make
    for space in made:
        subprocess.run(["ip", "netns", "del", space.name], check=False)
