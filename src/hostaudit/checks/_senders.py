"""From which address each host of a cohort sends to another, by its own routes. Pure.

Asked once for all hosts, and not by each host for each other one: a cohort may have 2,000 of them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from hostaudit.checks import _fib, _links

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.checks._fib import IPv4, Way
    from hostaudit_agent.snapshot import LinkTable

_KEPT = 64
"""Destinations of which the answer is kept; hosts that are alike have few networks between them."""


class Sender(NamedTuple):
    """A host that sends; in order of its source."""

    source: int
    place: int
    """Among the hosts of the cohort by name."""
    name: str
    route: str
    """By which it sends."""
    own: frozenset[IPv4]
    """Its addresses: to these it sends nothing over a wire."""


class Senders:
    """The hosts of a cohort whose routes were read."""

    def __init__(self, views: list[View]) -> None:
        self._hosts = [
            (view.host.name, table, _fib.Fib(routes), _fib.own(table))
            for view in views
            if (table := view.snapshot.link) is not None and (routes := view.snapshot.route) is not None
        ]
        self._edges = sorted({edge for _, _, fib, _ in self._hosts for edge in fib.edges()})
        self._known: dict[int, list[Sender]] = {}

    def to(self, address: IPv4) -> list[Sender]:
        """Return who would send to an address, and to all others between the same edges, in order of the source."""
        between = bisect_right(self._edges, int(address))
        if between not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[between] = sorted(self._ask(address))
        return self._known[between]

    def _ask(self, address: IPv4) -> list[Sender]:
        found = []
        for place, (name, table, fib, own) in enumerate(self._hosts):
            way = fib.way(address)
            source = _chosen(table, way) if way else None
            if way and source:
                found.append(Sender(int(source), place, name, way.text, own))
        return found


def of_cohort(view: View) -> Senders:
    """Return the senders of a host's cohort, itself included."""
    return Senders(sorted((view, *view.peers), key=lambda one: one.host.name))


def _chosen(table: LinkTable, way: Way) -> IPv4 | None:
    """Return the source address that a host takes for a way: the route's, or one that shares the router's network."""
    if way.source:
        return _fib.address(way.source)
    link = _links.named(table, way.devices[0]) if way.devices else None
    if link is None:
        return None
    via = _fib.address(way.via)
    mine = [_fib.interface(text) for text in link.addresses if ":" not in text]
    near = [one for one in mine if via and via in one.network]
    return (near or mine)[0].ip if mine else None
