"""What the ring says of the last day: rates in steps of five minutes, and of each counter the worst burst. Pure.

Lines are data from a disk: one that was cut off, damaged or of another version is passed over and counted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Optional

from hostaudit_agent.ring.watch import DEVICE, LOSSES
from hostaudit_agent.snapshot import KernelEvent, Ring, RingSeries, SettingChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STEP = 300
POINTS = 288
"""A day of them."""
QUIET = 90.0
"""Seconds without movement that do not end a burst: one tick may miss it."""
MOST_SERIES, MOST_CHANGES, MOST_EVENTS, MOST_BOOTS = 48, 64, 32, 16
LONGEST_NAME = 120
USE = "conntrack.use"
INVALID = "invalid_dropped "
DEVICES = "device "
ROUTED = ("Ip.ForwDatagrams", "Ip6.OutForwDatagrams")

Record = dict[str, Any]


def parse(data: bytes) -> tuple[list[Record], int]:
    """Return the lines of a segment that can be used, and how many cannot."""
    good: list[Record] = []
    lines = data.splitlines()
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("t"), (int, float)):
            good.append(record)
    return good, len(lines) - len(good)


def summarize(records: Iterable[Record], now: float, damaged: int = 0) -> Ring:
    """Return the summary of the day that ends now; records in the order in which they were written."""
    started = (int(now) // STEP + 1 - POINTS) * STEP
    ring = Ring(present=True, started=float(started), step=STEP, damaged=damaged)
    counters: dict[str, _Counter] = {}
    use: list[Optional[float]] = [None] * POINTS
    seen = [False] * POINTS
    for record in records:
        try:
            _add(ring, record, counters, use, seen)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
            ring.damaged += 1
    moved = sorted(counters.items(), key=lambda item: (-item[1].series.total, item[0]))[: MOST_SERIES - 1]
    ring.series = [counter.finish(seen) for _, counter in moved]
    if any(use):
        ring.series.append(_gauge(use, started))
    return ring


def _add(
    ring: Ring, record: Record, counters: dict[str, _Counter], use: list[Optional[float]], seen: list[bool]
) -> None:
    until, seconds = float(record["t"]), float(record.get("s", 0))
    step = int((until - min(seconds, STEP) / 2 - ring.started) // STEP)
    if not 0 <= step < POINTS:
        return
    ring.ticks += 1
    ring.first = ring.first or until
    ring.last = until
    seen[step] = True
    if "b" in record and ring.ticks > 1 and len(ring.boots) < MOST_BOOTS:
        ring.boots.append(until)
    if "c" in record and record["c"][1] > 0:
        share = round(100.0 * record["c"][0] / record["c"][1], 2)
        use[step] = max(use[step] or 0.0, share)
    for name, packets, span, others in _increases(record, seconds):
        counters.setdefault(name, _Counter(name)).add(step, packets, until, span, others)
    for name, (before, after) in record.get("v", {}).items():
        if len(ring.changes) < MOST_CHANGES:
            ring.changes.append(SettingChange(until, until - seconds, str(name), str(before), str(after)))
    for kind, subject, count, first, last in record.get("k", ()):
        if len(ring.events) < MOST_EVENTS:
            ring.events.append(KernelEvent(str(kind), str(subject), int(count), float(first), float(last)))


def _increases(record: Record, seconds: float) -> Iterator[tuple[str, int, float, int]]:
    """Yield name, packets, the seconds in which they came, and how many others there were that were not lost."""
    plain: dict[str, int] = record.get("d", {})
    routed = sum(int(plain.get(name, 0)) for name in ROUTED)
    for name, packets in plain.items():
        yield str(name), int(packets), seconds, 0
    for name, packets in record.get("r", {}).items():
        yield INVALID + str(name), int(packets), float(record["rs"]), routed
    for name, row in record.get("n", {}).items():
        for kind, packets in list(zip(DEVICE, row))[LOSSES]:
            if packets:
                passed = row[1] if kind.startswith(("tx", "qdisc")) else row[0]
                yield f"{DEVICES}{name} {kind}", int(packets), seconds, int(passed)


class _Counter:
    """Adds up one counter."""

    def __init__(self, name: str) -> None:
        self.series = RingSeries(name[:LONGEST_NAME])
        self._steps: dict[int, int] = {}
        self._from = self._until = 0.0
        self._packets = self._of = 0
        self._most = 0.0

    def add(self, step: int, packets: int, until: float, seconds: float, others: int) -> None:
        series = self.series
        self._steps[step] = self._steps.get(step, 0) + packets
        series.total += packets
        series.last = until
        if seconds > 0 and packets / seconds > series.most:
            series.most, series.most_at = round(packets / seconds, 3), until
        if not series.bursts or until - seconds - self._until > QUIET:
            self._from, self._packets, self._of, self._most = until - seconds, 0, 0, 0.0
            series.bursts += 1
        self._until = until
        self._packets += packets
        self._of += others
        if self._packets >= series.burst:
            series.burst, series.of = self._packets, self._of
            series.burst_from, series.burst_until = round(self._from, 1), until

    def finish(self, seen: list[bool]) -> RingSeries:
        self.series.points = [self._steps.get(i, 0) if there else None for i, there in enumerate(seen)]
        return self.series


def _gauge(use: list[Optional[float]], started: int) -> RingSeries:
    """Return the use of the connection tracking table in percent: of a step the largest."""
    known = [value for value in use if value is not None]
    at = max(i for i, value in enumerate(use) if value == max(known))
    return RingSeries(USE, points=list(use), most=max(known), most_at=float(started + (at + 1) * STEP))
