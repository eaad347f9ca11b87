"""Links of a real kernel, compared with what pyroute2 decodes, and the arithmetic of tunnels."""

from __future__ import annotations

import gc
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import tunnels
from hostaudit_agent.collectors import UnreadableError, link
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import Link, LinkTable


def read() -> LinkTable:
    unread: list[tuple[str, str]] = []
    table = link.collect(Root(), None, lambda part, why: unread.append((part, why)))
    assert unread == []
    return table


def by_name(table: LinkTable) -> dict[str, Link]:
    return {one.name: one for one in table.links}


@pytest.mark.lab
def test_bridges_veths_and_tunnels_of_a_namespace(netns: Callable[[], Any]) -> None:
    here, there = netns(), netns()
    here.ip(
        "link set lo up",
        "link add br0 type bridge",
        "link add up0 type veth peer name up1",
        "link set up1 master br0",
        f"link add guest0 mtu 1400 type veth peer name eth0 netns {there.name}",
        "link set up0 up",
        "link set up1 up",
        "addr add 192.0.2.1/24 dev up0",
        "addr add 2001:db8::1/64 dev up0 nodad",
        "route add default via 192.0.2.254",
        "link add mv0 link up0 type macvlan mode bridge",
        "link add vx0 type vxlan id 42 dev up0 remote 192.0.2.9 dstport 4789",
        "link add vx1 type vxlan id 43 remote 192.0.2.9 dstport 4789",
        "link add vx2 type vxlan id 44 remote 2001:db8::9 dstport 8472",
        "link add vx3 type vxlan external dstport 6000",
        "link add vx4 type vxlan id 45 group 239.1.1.1 dev up0 dstport 4790",
    )
    with here.entered():
        table = read()
    links = by_name(table)
    assert table.default_via == ["up0"]
    assert [one.index for one in table.links] == sorted(one.index for one in table.links)
    assert links["lo"].loopback
    assert links["br0"].kind == "bridge"
    assert links["br0"].details.get("vlan_filtering", "0") == "0"  # some kernels are built without it
    assert links["up1"].master == "br0"
    assert links["up0"].up
    assert links["up0"].addresses[:2] == ["192.0.2.1/24", "2001:db8::1/64"]
    assert not links["br0"].up
    # a veth's IFLA_LINK is its peer: it carries nothing
    assert (links["up0"].underlay, links["up0"].peer_elsewhere) == ("", False)
    assert (links["guest0"].underlay, links["guest0"].peer_elsewhere, links["guest0"].mtu) == ("", True, 1400)
    assert (links["mv0"].underlay, links["mv0"].underlay_by, links["mv0"].overhead) == ("up0", "link", None)
    assert (links["vx0"].underlay, links["vx0"].underlay_by, links["vx0"].overhead) == ("up0", "link", 50)
    assert links["vx0"].details == {"id": "42", "remote": "192.0.2.9", "port": "4789"}
    assert (links["vx1"].underlay, links["vx1"].underlay_by) == ("up0", "route to 192.0.2.9")
    assert (links["vx2"].underlay_by, links["vx2"].overhead) == ("route to 2001:db8::9", 70)
    assert (links["vx3"].underlay, links["vx3"].underlay_by) == ("up0", "default route")
    assert links["vx3"].details["external"] == "1"
    assert (links["vx4"].underlay, links["vx4"].underlay_by) == ("up0", "link")
    with there.entered():
        moved = by_name(read())["eth0"]
    assert (moved.kind, moved.peer_elsewhere, moved.underlay) == ("veth", True, "")


@pytest.mark.lab
def test_a_macvlan_in_another_namespace_has_its_parent_elsewhere(netns: Callable[[], Any]) -> None:
    here, there = netns(), netns()
    here.ip("link add up0 type veth peer name up1", "link add mv0 link up0 type macvlan")
    here.ip(f"link set mv0 netns {there.name}")
    with there.entered():
        moved = by_name(read())["mv0"]
    assert (moved.peer_elsewhere, moved.underlay, moved.underlay_by) == (True, "", "")


@pytest.mark.lab
def test_default_routes_of_all_tables_the_main_one_first(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(
        *(f"link add a{n} type veth peer name b{n}" for n in range(5)),
        *(f"link set a{n} up" for n in range(5)),
        *(f"link set b{n} up" for n in range(5)),
        *(f"addr add 192.0.{n}.1/24 dev a{n}" for n in range(5)),
        "route add default via 192.0.0.9 metric 200",
        "route add default via 192.0.1.9 metric 100",
        "route add default via 192.0.2.9 table 77",
        "route add unreachable default metric 5000",
        "route add ::/0 dev a3",
        "route add default table 78 nexthop dev a4 nexthop dev a0",
    )
    with space.entered():
        assert read().default_via == ["a1", "a0", "a2", "a4", "a3"]


@pytest.mark.lab
def test_a_tunnel_to_nowhere_has_no_underlay(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip("link add vx0 type vxlan id 1 remote 192.0.2.9 dstport 4789", "link add vx1 type vxlan external dstport 9")
    with space.entered():
        links = by_name(read())
    assert (links["vx0"].underlay, links["vx0"].underlay_by) == ("", "route to 192.0.2.9")
    assert (links["vx1"].underlay, links["vx1"].underlay_by) == ("", "default route")


def oracle(name: str) -> dict[str, dict[str, Any]]:
    """Return the links as pyroute2 decodes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyroute2 import IPRoute

        with IPRoute(netns=name) as ipr:
            found = list(ipr.get_links())
        gc.collect()
    names = {m["index"]: m.get_attr("IFLA_IFNAME") for m in found}
    return {
        m.get_attr("IFLA_IFNAME"): {
            "index": m["index"],
            "mtu": m.get_attr("IFLA_MTU"),
            "up": bool(m["flags"] & 1),
            "mac": m.get_attr("IFLA_ADDRESS"),
            "master": names.get(m.get_attr("IFLA_MASTER"), ""),
            "kind": (m.get_attr("IFLA_LINKINFO") or {}).get("kind") or m.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND"),
            "vni": m.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_ID"),
            "remote": m.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_GROUP"),
            "local": m.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_LOCAL"),
            "port": m.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_PORT"),
            "device": names.get(m.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_LINK"), ""),
        }
        for m in found
    }


@pytest.mark.lab
def test_pyroute2_decodes_the_same(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(
        "link add br0 mtu 1300 type bridge",
        "link add a0 type veth peer name b0",
        "link set b0 master br0",
        "link set a0 up",
        "addr add 192.0.2.1/24 dev a0",
        "link add vx0 type vxlan id 77 dev a0 local 192.0.2.1 remote 192.0.2.2 dstport 8472",
        "link add vx1 type vxlan id 78 remote 192.0.2.2 dstport 4789",
        "link add mv0 link a0 type macvlan",
    )
    theirs = oracle(space.name)
    with space.entered():
        ours = by_name(read())
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        other = theirs[name]
        assert (one.index, one.mtu, one.up, one.mac, one.master) == (
            other["index"],
            other["mtu"],
            other["up"],
            other["mac"],
            other["master"],
        )
        assert one.kind == (other["kind"] or "")
        if one.kind == "vxlan":
            assert one.details["id"] == str(other["vni"])
            assert one.details.get("remote") == other["remote"]
            assert one.details.get("local") == other["local"]
            assert one.details["port"] == str(other["port"])
            assert (one.underlay if one.underlay_by == "link" else "") == other["device"]


@pytest.mark.lab
def test_many_links_cost_little(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(*(f"link add a{n} type veth peer name b{n}" for n in range(100)))
    with space.entered():
        read()
        began = time.thread_time()
        table = read()
        each = (time.thread_time() - began) / len(table.links)
    assert len(table.links) == 201
    assert each < 200e-6  # seconds of CPU, the kernel's part included


def test_a_captured_tree_has_no_links(tmp_path: Any) -> None:
    with pytest.raises(UnreadableError, match="captured tree"):
        link.collect(Root(str(tmp_path)), None, lambda _part, _why: None)


V4, OTHER4 = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
V6 = bytes.fromhex("20010db8000000000000000000000001")


@pytest.mark.parametrize(
    ("kind", "data", "overhead"),
    [
        ("vxlan", {2: V4}, 50),
        ("vxlan", {16: V6}, 70),
        ("vxlan", {17: V6}, 70),
        ("vxlan", {25: b""}, 50),
        ("vxlan", {2: V4, 27: b""}, 36),
        ("geneve", {2: V4}, 50),
        ("geneve", {7: V6}, 70),
        ("wireguard", {}, 60),
        ("gre", {7: V4}, 24),
        ("gre", {7: V4, 3: b"\x20\x00"}, 28),
        ("gre", {7: V4, 3: b"\xb0\x00"}, 36),
        ("gretap", {7: V4}, 38),
        ("ip6gre", {7: V6, 13: b"\x01\x00\x00\x00"}, 44),
        ("ip6gre", {7: V6, 13: bytes(4)}, 52),
        ("ip6gretap", {7: V6, 13: b"\x01\x00\x00\x00"}, 58),
        ("ipip", {3: V4}, 20),
        ("ipip", {3: V4, 15: b"\x01\x00"}, 28),
        ("sit", {3: V4}, 20),
        ("ip6tnl", {3: V6, 8: b"\x01\x00\x00\x00"}, 40),
        ("ip6tnl", {3: V6, 8: bytes(4)}, 48),
    ],
)
def test_overheads(kind: str, data: dict[int, bytes], overhead: int) -> None:
    found = tunnels.read(kind, data)
    assert found is not None
    assert found.overhead == overhead


def test_a_tunnel_says_where_it_goes() -> None:
    found = tunnels.read("gre", {1: b"\x07\0\0\0", 6: OTHER4, 7: V4})
    assert found is not None
    assert (found.link, found.remote, found.details) == (7, "192.0.2.1", {"remote": "192.0.2.1", "local": "192.0.2.2"})
    unspecified = tunnels.read("ipip", {2: bytes(4), 3: bytes(4)})
    assert unspecified is not None
    assert (unspecified.remote, unspecified.family, unspecified.details) == ("", 0, {})
    group = tunnels.read("vxlan", {2: bytes([239, 1, 1, 1])})
    assert group is not None
    assert (group.remote, group.details["remote"]) == ("", "239.1.1.1")
    assert tunnels.read("dummy", {}) is None
