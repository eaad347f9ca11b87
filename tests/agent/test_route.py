"""Routes and rules of a real kernel, compared with what pyroute2 decodes and with what ``ip route get`` chooses."""

from __future__ import annotations

import json
import random
import subprocess
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.checks._fib import UNBOUND, Fib
from hostaudit_agent.collectors import UnreadableError, route
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import RouteTable

LINKS = [
    command
    for n in (0, 1, 2)
    for command in (
        f"link add e{n} type veth peer name p{n}",
        f"link set e{n} up",
        f"link set p{n} up",
        f"addr add 10.{n}.0.1/24 dev e{n}",
    )
]


def read(expect: list[str] | None = None) -> RouteTable:
    unread: list[str] = []
    table = route.collect(Root(), None, lambda part, _why: unread.append(part))
    assert unread == (expect or [])
    return table


@pytest.mark.lab
def test_routes_and_rules_are_those_of_ip(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(
        *LINKS,
        "route add default via 10.0.0.254 metric 100",
        "route add 10.5.0.0/16 via 10.1.0.254 src 10.1.0.1 mtu 1400",
        "route add 10.6.0.0/16 nexthop via 10.0.0.254 weight 2 nexthop via 10.1.0.254",
        "route add blackhole 10.7.0.0/16 table 77",
        "route add throw 10.8.0.0/16 table 77",
        "route add 2001:db8:1::/48 dev e0 metric 5",
        "rule add from 10.2.0.0/24 iif lo fwmark 0x10/0xf0 lookup 77 priority 100",
        "rule add to 10.9.0.0/16 ipproto tcp dport 80 lookup 77 priority 101",
        "rule add not from all to 10.3.0.0/16 lookup main suppress_prefixlength 0 priority 102",
        "rule add goto 32766 priority 103",
    )
    with space.entered():
        table = read()
    by = {(one.table, one.destination): one for one in table.routes}
    default = by[254, "default"]
    assert (default.via, default.device, default.metric) == ("10.0.0.254", "e0", 100)
    assert (by[254, "10.5.0.0/16"].mtu, by[254, "10.5.0.0/16"].source) == (1400, "10.1.0.1")
    hops = [(hop.via, hop.device, hop.weight) for hop in by[254, "10.6.0.0/16"].hops]
    assert hops == [("10.0.0.254", "e0", 2), ("10.1.0.254", "e1", 1)]
    assert (by[77, "10.7.0.0/16"].kind, by[77, "10.8.0.0/16"].kind) == ("blackhole", "throw")
    assert by[254, "10.1.0.0/24"].protocol == "kernel"
    assert by[254, "2001:db8:1::/48"].family == 6
    assert not [one for one in table.routes if one.table == 255 or one.destination.startswith(("fe80", "ff00"))]
    theirs = json.loads(space.run("ip", "-4", "-j", "rule"))
    rules = [one for one in table.rules if one.family == 4]
    assert [one.priority for one in rules] == [one["priority"] for one in theirs]
    first, second, third, fourth = rules[1:5]
    assert (first.source, first.iif, first.mark, first.mask, first.table) == ("10.2.0.0/24", "lo", 16, 240, 77)
    assert (second.destination, second.more) == ("10.9.0.0/16", True)
    assert (third.invert, third.suppress, third.destination) == (True, 0, "10.3.0.0/16")
    assert (fourth.action, fourth.goto) == ("goto", 32766)


@pytest.mark.lab
def test_the_way_that_is_computed_is_the_one_that_the_kernel_takes(netns: Callable[[], Any]) -> None:
    """A hundred random addresses through random tables; each answer is compared with ``ip route get``."""
    dice, space = random.Random(7), netns()  # noqa: S311 - the same addresses in each run
    kinds = ("via 10.0.0.9 dev e0", "via 10.1.0.9 dev e1", "dev e2", "via 10.2.0.9 dev e2 metric 9")
    routes = []
    for n in range(40):
        to = f"10.{dice.randrange(3, 9)}.{dice.choice([0, 64, 128])}.0/{dice.choice([18, 20, 24])}"
        where = dice.choice([254, 77, 78])
        kind = dice.choice(("throw", "unreachable", "")) if where != 254 and not n % 5 else ""
        routes.append(f"route replace {kind} {to} table {where} {'' if kind else dice.choice(kinds)}")
    space.ip(
        *LINKS,
        *routes,
        "route add default via 10.0.0.254 table 78",
        "route add unreachable 10.4.0.0/17 table 78",
        "route add default via 10.1.0.254",
        "rule add from 10.2.0.1 lookup 77 priority 10",
        "rule add to 10.4.0.0/16 lookup 78 suppress_prefixlength 0 priority 11",
        "rule add iif lo to 10.5.0.0/17 lookup 77 priority 12",
        "rule add not to 10.0.0.0/8 lookup 78 priority 13",
        "rule add fwmark 7 lookup 78 priority 14",
        "rule add to 10.6.0.0/17 priority 15 goto 20",
        "rule add to 10.6.0.0/16 lookup 77 priority 16",
        "rule add from all lookup 78 suppress_prefixlength 0 priority 20",
    )
    with space.entered():
        fib = Fib(read())
    seen = set()
    for _ in range(100):
        to = IPv4Address(f"10.{dice.randrange(3, 9)}.{dice.randrange(0, 200)}.7")
        source = dice.choice([UNBOUND, IPv4Address("10.2.0.1"), IPv4Address("10.0.0.1")])
        way = fib.way(to, source)
        assert way is not None
        words = ["ip", "netns", "exec", space.name, "ip", "-j", "route", "get", str(to)]
        words += ["from", str(source)] if source != UNBOUND else []
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        kernel = (json.loads(said.stdout)[0]["dev"],) if said.returncode == 0 else ()
        assert way.devices == kernel, (to, source, way, said.stdout, said.stderr)
        seen.add(kernel)
    assert seen == {("e0",), ("e1",), ("e2",), ()}


@pytest.mark.lab
def test_a_large_table_is_bounded_and_cheap(netns: Callable[[], Any], work: Any) -> None:
    space = netns()
    many = [f"route add 10.{64 + n // 250}.{n % 250}.0/24 via 10.0.0.254 proto bird" for n in range(8000)]
    space.ip(*LINKS, *many, "route add default via 10.0.0.254", "route add 192.0.2.0/24 via 10.1.0.254")
    with space.entered(), work.counted():
        table = read(["ipv4"])
    kept = {one.destination for one in table.routes if one.family == 4}
    assert len(kept) == route.KEPT
    assert {"default", "192.0.2.0/24", "10.0.0.0/24"} <= kept, "what no daemon learned is kept first"
    assert table.total["ipv4"] == 8005
    assert Fib(table).way(IPv4Address("192.0.2.1")) is None, "of a part nothing is concluded"
    assert work.calls < 8005 * 40


def test_a_captured_tree_has_no_routes(tmp_path: Any) -> None:
    with pytest.raises(UnreadableError, match="captured tree"):
        route.collect(Root(str(tmp_path)), None, lambda _part, _why: None)
