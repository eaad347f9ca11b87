"""Other network namespaces of this host: found, entered, read and left."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import namespaces
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.snapshot import Namespace, Unread

pytestmark = pytest.mark.lab

SEND = "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"


@pytest.fixture(autouse=True)
def at_home() -> Iterator[None]:
    """Whatever a test does, this thread ends up where it was, and no descriptor is left."""
    before = Path("/proc/self/ns/net").stat().st_ino, len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert before == (Path("/proc/self/ns/net").stat().st_ino, len(list(Path("/proc/self/fd").iterdir())))


def read(unread: list[Unread], between: Callable[[], None] = lambda: None) -> dict[str, Namespace]:
    others = namespaces.Others(Root(), unread, census=False)
    others.sample()
    between()
    return {space.name: space for space in others.collect()}


def of(unread: list[Unread], name: str) -> list[str]:
    return [one.reason for one in unread if one.netns == name and one.surface == "namespaces"]


def test_a_named_namespace_is_read_with_its_own_knobs_links_and_deltas(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip("link add v0 type veth peer name v1", "link set lo up")
    with space.entered():
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
    unread: list[Unread] = []
    found = read(unread, lambda: print(space.run("python3", "-c", SEND)))[f"netns {space.name}"]
    assert found.sysctl is not None
    assert found.sysctl.knobs["net.ipv4.conf.all.rp_filter"].running == "1"
    assert found.link is not None
    assert [one.name for one in found.link.links] == ["lo", "v1", "v0"]
    assert found.counters is not None
    assert found.counters.delta is not None
    assert found.counters.delta["Udp.NoPorts"] == 1
    assert of(unread, f"netns {space.name}") == []


def test_a_namespace_that_only_a_process_holds(netns: Callable[[], Any]) -> None:
    del netns  # needs what the fixture needs
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 30"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = read([])
        finally:
            process.kill()
    assert f"pid {process.pid} sleep" in found or f"pid {process.pid} sh" in found


def test_a_namespace_has_one_name_even_with_processes_inside(netns: Callable[[], Any]) -> None:
    space = netns()
    with subprocess.Popen(["ip", "netns", "exec", space.name, "sh", "-c", "echo; exec sleep 30"], stdout=-1) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = read([])
        finally:
            process.kill()
    assert f"netns {space.name}" in found
    assert not [name for name in found if name.startswith(f"pid {process.pid} ")]


def test_a_namespace_that_is_removed_meanwhile_is_still_read(netns: Callable[[], Any]) -> None:
    space = netns()
    unread: list[Unread] = []
    others = namespaces.Others(Root(), unread, census=False)
    others.sample()
    subprocess.run(["ip", "netns", "del", space.name], check=True)
    found = {one.name: one for one in others.collect()}
    subprocess.run(["ip", "netns", "add", space.name], check=True)  # the fixture removes it
    assert found[f"netns {space.name}"].sysctl is not None


def test_a_name_without_a_namespace_is_unread(netns: Callable[[], Any]) -> None:
    stale = Path("/run/netns") / f"{netns().name}-stale"
    stale.touch()
    unread: list[Unread] = []
    try:
        found = read(unread)
    finally:
        stale.unlink()
    assert f"netns {stale.name}" not in found
    assert of(unread, f"netns {stale.name}") == [f"not a network namespace any more: {stale}"]


def test_only_so_many_are_read(netns: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        netns()
    monkeypatch.setattr(namespaces, "MOST", 2)
    unread: list[Unread] = []
    assert len(read(unread)) == 2
    assert next(u.reason for u in unread if "left out" in u.reason).startswith(tuple("123456789"))


def test_a_collector_that_fails_inside_does_not_strand_us(
    netns: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hostaudit_agent.collectors import counters

    space = netns()
    monkeypatch.setattr(counters, "collect", lambda *_: 1 / 0)
    unread: list[Unread] = []
    found = read(unread)[f"netns {space.name}"]
    assert found.counters is None
    assert found.link is not None
    assert [u.reason for u in unread if u.netns == f"netns {space.name}" and u.surface == "counters"] == [
        "bug in the agent: ZeroDivisionError: division by zero"
    ]
