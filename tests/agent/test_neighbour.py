"""Neighbour tables of a real kernel, compared with what ``ip neigh`` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import UnreadableError, neighbour
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import NeighbourTable

UP = ("link add e0 type veth peer name e1", "link set e0 up", "link set e1 up", "addr add 10.0.0.1/16 dev e0")


def read(expect: list[str] | None = None) -> NeighbourTable:
    unread: list[str] = []
    table = neighbour.collect(Root(), None, lambda part, _why: unread.append(part))
    assert unread == (expect or [])
    return table


@pytest.mark.lab
def test_entries_are_those_of_ip(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(
        *UP,
        "neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev e0 nud stale",
        "neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 dev e0 nud permanent",
        "neigh add 10.0.0.4 lladdr 02:00:00:00:00:04 dev e0 nud reachable",
        "neigh add 10.0.0.5 dev e0 nud failed",
        "neigh add proxy 10.0.0.6 dev e0",
        "neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev e0 nud stale",
    )
    with space.entered():
        table = read()
    theirs = {one["dst"]: one for one in json.loads(space.run("ip", "-j", "neigh")) if "lladdr" in one}
    assert {one.address: (one.device, one.mac, one.state) for one in table.entries} == {
        address: (one["dev"], one["lladdr"], one["state"][0]) for address, one in theirs.items()
    }
    assert len(theirs) == 4
    assert table.states["FAILED"] == 1
    assert not table.truncated


@pytest.mark.lab
def test_of_a_large_table_routers_and_entries_in_use_are_kept(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(*UP)
    space.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/e0/forwarding")
    many = [
        f"neigh add 10.0.{n // 250}.{n % 250 + 2} lladdr 02:00:00:00:{n // 256:02x}:{n % 256:02x} dev e0 nud permanent"
        for n in range(neighbour.KEPT + 300)
    ]
    space.ip(
        *many,
        "neigh add 10.0.200.1 lladdr 02:00:00:ff:00:01 dev e0 nud stale",
        "neigh add 10.0.200.254 lladdr 02:00:00:ff:00:fe dev e0 nud stale",
        "route add default via 10.0.200.254",
    )
    with space.entered():
        table = read(["ipv4"])
    kept = {one.address for one in table.entries}
    assert len(kept) == neighbour.KEPT
    assert "10.0.200.254" in kept, "the router"
    assert "10.0.200.1" not in kept, "an idle one"
    assert table.states["PERMANENT"] == len(many)
    assert table.truncated


def test_a_captured_tree_has_no_neighbours(tmp_path: Any) -> None:
    with pytest.raises(UnreadableError, match="captured tree"):
        neighbour.collect(Root(str(tmp_path)), None, lambda _part, _why: None)
