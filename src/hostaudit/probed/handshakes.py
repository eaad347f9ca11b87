"""Series of TCP handshakes: verdicts, percentiles, and how what fails depends on the source port. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FAILED = ("no-answer", "refused", "unreachable", "silent", "reset", "closed", "unexpected")
"""Outcomes of a connection that speak against the target; ``local`` speaks against the vantage point."""
WORDS = {
    "ok": "ok",
    "no-answer": "no answer to the SYN",
    "refused": "refused",
    "unreachable": "unreachable (ICMP)",
    "silent": "connected, then silence",
    "reset": "connected, then reset",
    "closed": "connected, then closed",
    "unexpected": "answered something else",
    "local": "could not be tried here",
}
BUCKETS = 2
"""Classes of source ports that are compared: even and odd, as the simplest hash of a load balancer has them."""
TELLING = 4
"""Connections that each class needs before a pattern is named."""


class Verdict(StrEnum):
    """What a series of connections says about its target."""

    OK = "ok"
    PATH_DEPENDENT = "path-dependent"
    """Some fail and some do not."""
    DOWN = "down"
    UNTRIED = "untried"
    """Nothing could be sent."""


@dataclass(frozen=True, slots=True)
class Try:
    """One connection."""

    outcome: str
    source_port: int = 0
    connect_ms: float | None = None
    retransmits: int = 0
    origin: str = ""
    """Who sent the ICMP error."""
    errno: str = ""
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class Series:
    """The handshakes of one vantage point with one address."""

    vantage: str
    target: str
    """As it was named: ``shop.example:443``, ``[2001:db8::1]:443``."""
    address: str
    port: int
    tries: tuple[Try, ...] = ()
    error: str = ""
    """Why nothing could be tried."""
    host: str = ""
    """The host whose management port this is; empty: a service."""

    @property
    def counts(self) -> dict[str, int]:
        """Outcome -> connections, ``ok`` first, then the most frequent."""
        number = Counter(one.outcome for one in self.tries)
        return dict(sorted(number.items(), key=lambda item: (item[0] != "ok", -item[1], item[0])))

    @property
    def ok(self) -> int:
        """Connections that worked."""
        return sum(one.outcome == "ok" for one in self.tries)

    @property
    def judged(self) -> int:
        """Connections that say something about the target."""
        return sum(one.outcome != "local" for one in self.tries)

    @property
    def verdict(self) -> Verdict:
        """What the series says."""
        if not self.judged:
            return Verdict.UNTRIED
        if self.ok == self.judged:
            return Verdict.OK
        return Verdict.PATH_DEPENDENT if self.ok else Verdict.DOWN

    @property
    def percentiles(self) -> dict[str, float]:
        """Milliseconds to the SYN-ACK: ``p50``, ``p95``, ``p99``, ``max``; empty where nothing was connected."""
        times = sorted(one.connect_ms for one in self.tries if one.connect_ms is not None)
        if not times:
            return {}
        ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        return {name: times[max(0, math.ceil(share * len(times)) - 1)] for name, share in ranks.items()}

    @property
    def strip(self) -> str:
        """A character for each connection in order: ``.`` worked, ``x`` failed, ``?`` could not be tried."""
        return "".join({"ok": ".", "local": "?"}.get(one.outcome, "x") for one in self.tries)

    @property
    def pattern(self) -> str:
        """How what fails depends on the source port, in words; empty where it is not mixed or too few were tried."""
        if self.verdict is not Verdict.PATH_DEPENDENT:
            return ""
        classes: list[list[bool]] = [[] for _ in range(BUCKETS)]
        for one in self.tries:
            if one.outcome != "local":
                classes[one.source_port % BUCKETS].append(one.outcome == "ok")
        if min(len(c) for c in classes) < TELLING:
            return ""
        for number, (name, other) in enumerate((("even", "odd"), ("odd", "even"))):
            mine, others = classes[number], classes[1 - number]
            if not any(mine) and all(others):
                return (
                    f"all {len(mine)} from {name} source ports fail, all {len(others)} from {other} ones work: "
                    "they take different paths"
                )
        return "odd and even source ports fail alike: another hash, or loss"

    @property
    def failing_ports(self) -> tuple[int, ...]:
        """Source ports of the connections that failed."""
        return tuple(one.source_port for one in self.tries if one.outcome in FAILED)


def by_target(series: Iterable[Series]) -> dict[str, list[Series]]:
    """Group series by target as it was named, in order."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.target, []).append(one)
    return groups


def partial_names(series: Sequence[Series]) -> dict[str, list[Series]]:
    """Return the names with several addresses of which some work and some do not, from one vantage point or another."""
    found = {}
    for target, members in by_target(series).items():
        states: dict[str, set[bool]] = {}
        for one in members:
            if one.judged:
                states.setdefault(one.vantage, set()).add(one.verdict is Verdict.DOWN)
        if any(len(both) == 2 for both in states.values()):
            found[target] = members
    return found
