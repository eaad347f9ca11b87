"""Which way a packet takes: the kernel's choice of rule, table and route, from what a host said of them. Pure.

As net/core/fib_rules.c and net/ipv4/fib_trie.c choose: rules in order of priority; in a table the longest prefix, then
the lowest metric; ``throw``, and a route that a rule suppresses, go on with the next rule. What is local to the host is
left to the caller. A choice that depends on what is not known (ports, users, rules or routes that were left out) is
``None``: nothing is guessed.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hostaudit_agent.snapshot import LinkTable, PolicyRule, Route, RouteTable

IPv4 = ipaddress.IPv4Address
UNBOUND = IPv4(0)
"""The source of a packet of this host's own before its way is chosen: rules with ``from`` do not match it."""
_LOCAL, _MAIN, _DEFAULT = 255, 254, 253
_EVERYTHING = ipaddress.IPv4Network("0.0.0.0/0")
_NAMED = {_LOCAL: "local", _MAIN: "main", _DEFAULT: "default"}
_REFUSING = frozenset({"blackhole", "unreachable", "prohibit"})


@dataclass(frozen=True, slots=True)
class Way:
    """The route that a packet takes."""

    devices: tuple[str, ...]
    """None where the host refuses (``blackhole``, ``unreachable``, ``prohibit``), or has no route."""
    text: str
    """The route as ``ip route`` shows it, with its rule and table: ``default via 10.0.0.1 dev eth0 (table main)``."""
    source: str = ""
    via: str = ""
    default: bool = False


@lru_cache(maxsize=1 << 14)
def network(text: str) -> ipaddress.IPv4Network | None:
    """Return the IPv4 network of a destination; ``None`` for IPv6 and what does not parse."""
    try:
        return _EVERYTHING if text == "default" else ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None


def address(text: str) -> IPv4 | None:
    """Return an IPv4 address; ``None`` for what is none."""
    try:
        return IPv4(text)
    except ValueError:
        return None


def own(table: LinkTable) -> frozenset[IPv4]:
    """Return the IPv4 addresses of a host."""
    return frozenset(interface(text).ip for link in table.links for text in link.addresses if ":" not in text)


@lru_cache(maxsize=1 << 14)
def interface(text: str) -> ipaddress.IPv4Interface:
    """Return an address with its network; several checks ask for each. Raises ValueError."""
    return ipaddress.IPv4Interface(text)


class Fib:
    """The IPv4 routes and rules of one host, ready to be asked."""

    def __init__(self, table: RouteTable) -> None:
        self.whole = not {"ipv4", "rules"} & set(table.truncated)
        self._rules = [rule for rule in table.rules if rule.family == 4]
        self._tables: dict[int, list[tuple[ipaddress.IPv4Network, Route]]] = defaultdict(list)
        for route in table.routes:
            to = network(route.destination) if route.family == 4 else None
            if to is not None and not route.tos and not route.dead:
                self._tables[route.table].append((to, route))
        for routes in self._tables.values():
            routes.sort(key=lambda one: (-one[0].prefixlen, one[1].metric))

    def way(self, to: IPv4, source: IPv4 = UNBOUND, incoming: str = "lo") -> Way | None:
        """Return the way to an address, for a packet without mark from ``source``; ``None``: it cannot be told."""
        if not self.whole:
            return None
        least = 0
        for rule in self._rules or _plain():
            if rule.priority < least or rule.table == _LOCAL:
                continue
            met = _matches(rule, to, source, incoming)
            if met is None:
                return None
            if not met or rule.action == "nop":
                continue
            if rule.action == "goto":
                least = rule.goto
            elif rule.action in _REFUSING:
                return Way((), f"rule {rule.priority}: {rule.action}")
            elif rule.action != "table":
                return None
            elif (found := self._in_table(rule, to)) is not None:
                return found
        return Way((), "no route")

    def edges(self) -> Iterator[int]:
        """Yield where prefixes of routes and rules begin, and where the address behind them is.

        Addresses with no edge between them are matched by the same prefixes, so that packets to (or from) them take
        one way.
        """
        given = (network(text) for rule in self._rules for text in (rule.source, rule.destination) if text)
        for prefix in (*(one for routes in self._tables.values() for one, _ in routes), *given):
            if prefix is not None:
                yield int(prefix.network_address)
                yield int(prefix.broadcast_address) + 1

    def _in_table(self, rule: PolicyRule, to: IPv4) -> Way | None:
        for prefix, route in self._tables.get(rule.table, ()):
            if to not in prefix:
                continue
            if route.kind == "throw" or (rule.suppress is not None and prefix.prefixlen <= rule.suppress):
                return None
            where = f"(rule {rule.priority}, table {_NAMED.get(rule.table, rule.table)})"
            devices = () if route.kind in _REFUSING else tuple(_devices([route]))
            return Way(devices, f"{said(route)} {where}", route.source, route.via, not prefix.prefixlen)
        return None


def said(route: Route) -> str:
    """Return a route as ``ip route`` shows it."""
    words = [route.destination if route.kind == "unicast" else f"{route.kind} {route.destination}"]
    words += [f"via {route.via}"] if route.via else []
    words += [f"dev {route.device}"] if route.device else []
    words += [f"nexthop {hop.via} dev {hop.device}" for hop in route.hops]
    words += [f"metric {route.metric}"] if route.metric else []
    return " ".join(words)


def _devices(routes: Iterable[Route]) -> Sequence[str]:
    named = [name for route in routes for name in (route.device, *(hop.device for hop in route.hops)) if name]
    return list(dict.fromkeys(named))


def _plain() -> list[PolicyRule]:
    from hostaudit_agent.snapshot import PolicyRule as Rule

    return [Rule(32766, table=_MAIN), Rule(32767, table=_DEFAULT)]


def _matches(rule: PolicyRule, to: IPv4, source: IPv4, incoming: str) -> bool | None:
    """Say whether a rule matches; ``None`` where that depends on what is not known of the packet."""
    if rule.l3mdev:
        return False  # of a VRF, whose interfaces the caller leaves out
    sure: list[bool | None] = [
        not rule.iif or rule.iif == incoming,
        not rule.oif,
        rule.mark is None or (0 & rule.mask) == rule.mark,
        not rule.tos,
        _within(rule.destination, to),
        _within(rule.source, source),
        None if rule.more else True,
    ]
    met = False if False in sure else None if None in sure else True
    return met if met is None else met != rule.invert


def _within(prefix: str, address: IPv4) -> bool:
    if not prefix or prefix == "default":
        return True
    found = network(prefix)
    return found is not None and address in found
