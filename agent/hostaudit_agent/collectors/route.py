"""Routes of all tables but ``local``, and the rules that choose between them, from rtnetlink.

Bounded: a router with the whole internet has a million routes. At most ``SEEN`` messages of a family are looked at and
``KEPT`` routes of it are kept, those that a routing daemon learned last: what a person, DHCP or the kernel made says
more. Route exceptions (learned path MTUs) are not dumped without RTM_F_CLONED.
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EOPNOTSUPP
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any

from hostaudit_agent import fib
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, payloads
from hostaudit_agent.snapshot import PolicyRule, Route, RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

RTM_NEWROUTE, RTM_GETROUTE, RTM_GETRULE = 24, 26, 34
LOCAL = 255
LEARNED = 186
"""From this protocol number on, and those of LEARNED_TOO, a routing daemon made the route (rtnetlink.h, RTPROT_*)."""
LEARNED_TOO = frozenset((8, 10, 11, 12, 13, 14, 15, 17, 42))
SHOWN = frozenset((1, 6, 7, 8, 9))
"""Types: unicast, blackhole, unreachable, prohibit, throw."""
SEEN, KEPT, RULES = 20_000, 512, 256
LINK_LOCAL = bytes.fromhex("fe80")


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> RouteTable:
    """Return routes and rules of this network namespace. ``before`` is not used: routes are not counters."""
    del before
    if not root.live:
        raise UnreadableError("routes are read by netlink, and a captured tree has no kernel to ask")
    names = fib.Names()
    table = RouteTable([])
    with Netlink(NETLINK_ROUTE) as nl:
        for family in (AF_INET, AF_INET6):
            for reader in (_routes, _rules):
                try:
                    reader(nl, family, table, names)
                except OSError as e:
                    if e.errno not in (EOPNOTSUPP, EAFNOSUPPORT):
                        raise
    for part in table.truncated:
        unread(part, f"more than {KEPT if part.startswith('ipv') else RULES}: the rest is left out")
    return table


def _routes(nl: Netlink, family: int, table: RouteTable, names: fib.Names) -> None:
    word = "ipv6" if family == AF_INET6 else "ipv4"
    made: list[bytes] = []
    learned: list[bytes] = []
    seen = total = 0
    for buffer, size in nl.stream(RTM_GETROUTE, fib.route_header.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWROUTE, fib.route_header.size):
            seen += 1
            if buffer[start + 4] == LOCAL or buffer[start + 7] not in SHOWN:
                continue
            if family == AF_INET6 and buffer[start + 1] == 64 and LINK_LOCAL in buffer[start + 12 : start + 26]:
                continue  # every interface has fe80::/64
            total += 1
            protocol = buffer[start + 5]
            kind = learned if protocol >= LEARNED or protocol in LEARNED_TOO else made
            if len(kind) < KEPT:
                kind.append(bytes(buffer[start:end]))
        if seen > SEEN:
            break
    table.total[word] = total
    kept = [*made, *learned[: KEPT - len(made)]]
    if total > len(kept) or seen > SEEN:
        table.truncated.append(word)
    table.routes += [_one(payload, names) for payload in kept]


def _one(payload: bytes, names: fib.Names) -> Route:
    return fib.route(payload, names)


def _rules(nl: Netlink, family: int, table: RouteTable, names: fib.Names) -> None:
    del names
    messages = nl.dump(RTM_GETRULE, fib.rule_header.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    rules: list[PolicyRule] = [fib.rule(payload) for _, payload in messages[:RULES]]
    if len(messages) > RULES:
        table.truncated.append("rules")
    table.rules += sorted(rules, key=lambda rule: rule.priority)
