"""Sources whose way back is not the interface that they come in on, which strict filtering drops. Pure.

The kernel (net/ipv4/fib_frontend.c, __fib_validate_source) looks its own routes up for the packet's source, with the
packet's destination as source and ``iif lo``; strict mode drops it unless one of the route's ways is the interface it
came in on. The mark counts only with src_valid_mark; it is taken as 0 here.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _fib, _links, _say, _senders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import View
    from hostaudit.checks._fib import IPv4
    from hostaudit.checks._senders import Sender
    from hostaudit_agent.snapshot import Link

ANYWHERE = ipaddress.IPv4Address("203.0.113.1")
"""Of a network for documentation (RFC 5737): what no route but the default route has."""
MOST = 8
_SOURCE = attrgetter("source")


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and an interface: a packet of the one that comes in on the other is dropped."""

    source: str
    link: str
    to: str
    """The address of this host that it is sent to."""
    how: str
    """How it is known that it comes in there."""
    back: str
    """The interfaces of the way back; empty where there is none."""
    route: str
    """The route that wins."""
    certain: bool = True
    """A host of this run, or a declared address, sends so; else it only would."""

    def sentence(self) -> str:
        """Return what happens, for people."""
        return f"{self.source} to {self.to} in on {self.link} is dropped: the way back is `{self.route}`"


def pairs(view: View, strict: list[str]) -> list[Pair]:
    """Return up to ``MOST`` pairs of the interfaces that filter strictly, the certain ones first."""
    snapshot = view.snapshot
    if snapshot.route is None or snapshot.link is None or not strict:
        return []
    fib, local = _fib.Fib(snapshot.route), _fib.own(snapshot.link)
    links = [link for link in _links.outward(snapshot.link) if link.name in strict and not _in_vrf(view, link)]
    found: dict[tuple[str, str], Pair] = {}
    for source, link, to, how, certain in (*_declared(view, links), *_hosts(view, links, fib), *_others(links)):
        if source in local or (str(source), link.name) in found or len(found) >= MOST:
            continue
        back = fib.way(source, to)
        if back is not None and link.name not in back.devices:
            name = "any source that only the default route has" if source == ANYWHERE else str(source)
            pair = Pair(name, link.name, str(to), how, " and ".join(back.devices), back.text, certain)
            found[str(source), link.name] = pair
    return sorted(found.values(), key=lambda pair: not pair.certain)


def evidence(found: list[Pair]) -> list[dict[str, Any]]:
    """Return the pairs as data."""
    return [{key: value for key, value in asdict(pair).items() if key != "certain"} for pair in found]


def command(pair: Pair) -> str:
    """Return the command by which the kernel says the same: ``Invalid cross-device link``.

    Since Linux 6.13 it is ``Invalid argument`` (net/ipv4/route.c, inet_rtm_getroute); a packet that would pass gets a
    route from both.
    """
    source = pair.source if pair.certain else str(ANYWHERE)
    return f"ip route get {pair.to} from {source} iif {_say.quote(pair.link)}; ip route get {source} from {pair.to}"


def _in_vrf(view: View, link: Link) -> bool:
    master = _links.named(view.snapshot.link, link.master) if view.snapshot.link and link.master else None
    return master is not None and master.kind == "vrf"


Candidate = tuple["IPv4", "Link", "IPv4", str, bool]


def _declared(view: View, links: list[Link]) -> Iterator[Candidate]:
    """Yield ``hostaudit_peers``: ``10.9.0.5@eth1,10.9.0.6``; and virtual addresses, where a neighbour has them."""
    given = view.host.variables.get("hostaudit_peers", ())
    for text in given if isinstance(given, list | tuple) else str(given).split(","):
        address, _, name = str(text).strip().partition("@")
        for link in links:
            if name in ("", link.name) and (source := _fib.address(address)) and (to := _first(link)):
                yield source, link, to, "hostaudit_peers", True
    known = {(n.address, n.device) for n in view.snapshot.neighbour.entries} if view.snapshot.neighbour else set()
    for text in view.host.vips:
        for link in links:
            if (text, link.name) in known and (source := _fib.address(text)) and (to := _first(link)):
                yield source, link, to, "hostaudit_vips, and it is a neighbour there", True


def _hosts(view: View, links: list[Link], fib: _fib.Fib) -> Iterator[Candidate]:
    """Yield what other hosts of the cohort send to our addresses where the way back is not that interface, by host."""
    if not view.peers:
        return
    senders = view.once(_senders.of_cohort, of_cohort=True)
    edges = sorted(set(fib.edges()))
    targets = [(link, to) for link in links for to in _v4(link)]
    lost = [
        (one.place, number, one)
        for number, (link, to) in enumerate(targets)
        for one in _lost(senders.to(to), link, to, fib, edges)
        if one.name != view.host.name and to not in one.own
    ]
    for _, number, one in sorted(lost):
        yield ipaddress.IPv4Address(one.source), *targets[number], f"{one.name} sends it there by {one.route}", True


def _lost(sources: list[Sender], link: Link, to: IPv4, fib: _fib.Fib, edges: list[int]) -> Iterator[Sender]:
    """Yield those whose way back is not the interface. Between two edges of this host's prefixes all have one way."""
    at = 0
    while at < len(sources):
        first, edge = sources[at].source, bisect_right(edges, sources[at].source)
        until = bisect_left(sources, edges[edge], at, key=_SOURCE) if edge < len(edges) else len(sources)
        back = fib.way(ipaddress.IPv4Address(first), to)
        if back is not None and link.name not in back.devices:
            yield from sources[at:until]
        at = until


def _others(links: list[Link]) -> Iterator[Candidate]:
    for link in links:
        if (to := _first(link)) is not None:
            yield ANYWHERE, link, to, "an answer to, or a request for, an address of that interface", False


def _v4(link: Link) -> list[IPv4]:
    found = [_fib.interface(text).ip for text in link.addresses if ":" not in text]
    return [address for address in found if not address.is_link_local]


def _first(link: Link) -> IPv4 | None:
    return next(iter(_v4(link)), None)
