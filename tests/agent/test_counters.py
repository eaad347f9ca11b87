"""Counters: each file's format, the differences, and a real drop that is counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit_agent.collectors import UnreadableError, counters
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

SNMP = """\
Ip: Forwarding DefaultTTL FragFails
Ip: 2 64 7
Tcp: MaxConn CurrEstab RetransSegs
Tcp: -1 3 10
"""
ARP = """\
entries  allocs   destroys table_fulls
00000002 00000034 00000047 00000001
00000002 0000002c 00000017 0000000f
"""


def test_names_come_from_the_header() -> None:
    assert counters.parse_paired(SNMP) == {
        "Ip.Forwarding": 2,
        "Ip.DefaultTTL": 64,
        "Ip.FragFails": 7,
        "Tcp.MaxConn": -1,
        "Tcp.CurrEstab": 3,
        "Tcp.RetransSegs": 10,
    }


def test_lines_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="Ip is followed by one of Tcp"):
        counters.parse_paired("Ip: A\nTcp: 1\n")


def test_snmp6_names_are_split_at_the_protocol() -> None:
    text = "Ip6InReceives   1\nIcmp6InType1\t2\nUdp6InErrors 3\nUdpLite6InErrors 4\nOther 5\n"
    assert counters.parse_snmp6(text) == {
        "Ip6.InReceives": 1,
        "Icmp6.InType1": 2,
        "Udp6.InErrors": 3,
        "UdpLite6.InErrors": 4,
        "Other": 5,
    }


def test_softnet_is_summed_over_processors() -> None:
    text = "0000000a 00000001 00000000 0 0\n000000ff 00000002 00000003 0 0\n"
    assert counters.parse_softnet(text) == {"softnet.processed": 265, "softnet.dropped": 3, "softnet.time_squeeze": 3}
    assert counters.parse_softnet("") == {}


def test_entries_of_a_neighbour_cache_are_not_summed() -> None:
    assert counters.parse_cache("arp_cache", ARP) == {
        "arp_cache.entries": 2,
        "arp_cache.allocs": 0x60,
        "arp_cache.destroys": 0x5E,
        "arp_cache.table_fulls": 16,
    }
    assert counters.parse_cache("arp_cache", "") == {}


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (5, 8, 3),
        (5, 5, 0),
        (8, 5, None),
        (2**32 - 2, 3, 5),
        (2**31, 3, None),
        (2**64 - 1, 0, 1),
        (2**63, 0, None),
        (2**32 - 2, 2**32 + 1, 3),
    ],
)
def test_increase(old: int, new: int, change: int | None) -> None:
    assert counters.increase(old, new) == change


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_an_increase_is_never_negative(old: int, new: int) -> None:
    change = counters.increase(old, new)
    assert change is None or change >= 0


def tree(top: Path, snmp: str, arp: str = ARP) -> Root:
    (top / "proc/net/stat").mkdir(parents=True, exist_ok=True)
    (top / "proc/net/snmp").write_text(snmp)
    (top / "proc/net/stat/arp_cache").write_text(arp)
    return Root(str(top))


def nothing(_part: str, _why: str) -> None:
    raise AssertionError


def test_delta_holds_what_moved(tmp_path: Path) -> None:
    before = counters.sample(tree(tmp_path, SNMP))
    root = tree(
        tmp_path,
        SNMP.replace("64 7", "64 9").replace("-1 3 10", "-1 1 4") + "IcmpMsg: InType3\nIcmpMsg: 2\n",
        ARP.replace("00000002 0000002c", "00000001 0000002c").replace("00000002 ", "00000001 "),
    )
    found = counters.collect(root, before, nothing)
    assert found.delta == {
        "Ip.FragFails": 2,
        "Tcp.CurrEstab": -2,  # a gauge falls; RetransSegs went backwards and is left out
        "IcmpMsg.InType3": 2,  # listed for the first time
        "arp_cache.entries": -1,
    }
    assert found.totals["Ip.FragFails"] == 9
    assert counters.collect(root, None, nothing).delta is None


def test_no_proc_is_not_no_drops(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="is /proc mounted"):
        counters.collect(Root(str(tmp_path)), None, nothing)


@pytest.mark.lab
def test_a_dropped_packet_of_the_kernel_moves_its_counter(netns: Callable[[], Any]) -> None:
    here, there = netns(), netns()
    here.ip(
        f"link add e0 type veth peer name e1 address 02:00:00:00:00:01 netns {there.name}",
        "link set e0 up",
        "addr add 192.0.2.1/24 dev e0",
        "neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev e0",  # the filter would drop the ARP request too
        "route add default via 192.0.2.2",
    )
    there.ip("link set e1 up", "addr add 192.0.2.2/24 dev e1", "link set lo up")
    with there.entered():
        Path("/proc/sys/net/ipv4/conf/e1/rp_filter").write_text("1")
        before = counters.sample(Root())
    here.ip("addr add 203.0.113.9/32 dev e0")
    here.run("python3", "-c", SEND)
    with there.entered():
        found = counters.collect(Root(), before, nothing)
    assert found.delta is not None
    assert found.delta["TcpExt.IPReversePathFilter"] == 3
    assert "arp_cache.entries" not in found.totals  # shown in the first namespace only


SEND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.9", 0))
for _ in range(3):
    s.sendto(b"x", ("192.0.2.2", 9))
"""
