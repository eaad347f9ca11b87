"""Handshakes of which one host saw the first half only, beside the hosts of the cohort that drop the second. Pure.

Everything that depends on the whole cohort is computed once for it, with an index from a handshake to the hosts on
which it waits: what each of 2,000 hosts says must not cost a look at all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hostaudit.checks import View

NAMED = 40
"""Other hosts that one finding names: every finding of a large cohort would name every host of it."""
HANDSHAKES = 8
"""Handshakes that are shown of each pair of hosts."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """What the hosts of a cohort have to do with each other's INVALID drops. All are in order of name."""

    readable: tuple[str, ...]
    """Hosts whose rules were read."""
    dropping: tuple[str, ...]
    declared: dict[str, str]
    """Host -> why its path is asymmetric on purpose."""

    def declared_for(self, host: str) -> dict[str, str]:
        """Return the declarations that one finding shows: its own host's first, then those of the others."""
        own = {host: self.declared[host]} if host in self.declared else {}
        return own | dict(islice(((k, v) for k, v in self.declared.items() if k != host), NAMED))


def cohort(view: View) -> Cohort:
    """Return what is known of the whole cohort."""
    return view.once(_cohort, of_cohort=True)


def pairs(view: View, droppers: Iterable[str], among: set[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield, per host that drops, which others hold the first half of handshakes that it never saw begin.

    A tuple that waits on both hosts went through both: its SYN-ACK is not INVALID there. This host comes first among
    those that wait; of them only those ``among`` are told, if given.
    """
    waits = view.once(_waits, of_cohort=True)
    mine = view.host.name
    there = waits.tuples if among is None else sorted(among & waits.tuples.keys())
    for dropper in droppers:
        shared = waits.sharing(dropper)
        for name in (mine, *(other for other in there if other != mine)):
            if name == dropper or name not in waits.tuples:
                continue
            left = waits.first[name]
            if name in shared:
                left = sorted(waits.tuples[name] - waits.tuples[dropper])[:HANDSHAKES]
            if left:
                yield {"dropped_by": dropper, "waiting_on": name, "handshakes": left}


def sharing(view: View) -> set[str]:
    """Return this host, and those on which one of its own waiting handshakes waits, too."""
    return view.once(_waits, of_cohort=True).sharing(view.host.name) | {view.host.name}


def alone(view: View) -> Iterator[dict[str, Any]]:
    """Yield what waits on each host of the cohort, as ``pairs`` tells it to a host that shares nothing with it."""
    for name, handshakes in view.once(_waits, of_cohort=True).first.items():
        yield {"waiting_on": name, "handshakes": handshakes}


@dataclass(frozen=True, slots=True)
class _Waits:
    """Which handshakes wait on which hosts; hosts on which none does are left out."""

    tuples: dict[str, set[str]]
    first: dict[str, list[str]]
    holders: dict[str, list[str]]
    """Tuple -> the hosts on which it waits."""

    def sharing(self, host: str) -> set[str]:
        """Return the hosts on which one of this host's tuples waits, itself among them."""
        return {name for one in self.tuples.get(host, ()) for name in self.holders[one]}


def _waits(view: View) -> _Waits:
    tuples = {one.host.name: set(_waiting(one)) for one in _members(view) if _waiting(one)}
    holders: dict[str, list[str]] = {}
    for name, some in tuples.items():
        for one in some:
            holders.setdefault(one, []).append(name)
    return _Waits(tuples, {name: sorted(some)[:HANDSHAKES] for name, some in tuples.items()}, holders)


def _members(view: View) -> list[View]:
    return sorted((view, *view.peers), key=lambda one: one.host.name)


def _cohort(view: View) -> Cohort:
    known = [one for one in _members(view) if _invalid.readable(one)]
    return Cohort(
        tuple(one.host.name for one in known),
        tuple(one.host.name for one in known if _invalid.dropping(one, _invalid.of(one))),
        {one.host.name: one.host.asymmetric for one in _members(view) if one.host.asymmetric},
    )


def _waiting(view: View) -> list[str]:
    """Return the TCP tuples of this host that wait for a SYN-ACK, as the census saw them."""
    census = view.snapshot.conntrack.census if view.snapshot.conntrack else None
    return census.one_sided if census else []
