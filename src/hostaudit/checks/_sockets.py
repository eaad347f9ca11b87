"""Sockets and their processes in words, and how often connections are opened. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Process, Snapshot

YOUNG = 86400
"""Seconds; a host that has been up for less has not seen a whole day, so its average since boot is no baseline."""


def who(process: Process | None) -> str:
    """Return a process for people: ``java (812)``."""
    return f"{process.name or 'process'} ({process.pid})" if process else "a process that was not found"


def shown(process: Process | None) -> dict[str, Any] | None:
    """Return a process as evidence."""
    return {key: value for key, value in asdict(process).items() if value} if process else None


def listeners(view: View) -> list[dict[str, Any]]:
    """Return as evidence the listeners that dropped something, or whose queue is full, or where handshakes wait."""
    table = view.snapshot.sockets
    return [
        {
            "address": one.address,
            "queue": one.queue,
            "backlog": one.backlog,
            "dropped": one.dropped,
            "half_open": one.half_open,
            "process": shown(one.process),
        }
        for one in (table.listeners if table else [])
        if one.dropped or one.half_open or (one.queue and one.queue >= (one.backlog or 0))
    ][:4]


def culprit(view: View) -> str:
    """Return the listener that dropped the most, or where the most handshakes wait: ``0.0.0.0:80 of nginx (812)``.

    Empty where it is not told.
    """
    table = view.snapshot.sockets
    one = max(table.listeners, key=lambda found: (found.dropped or 0, found.half_open), default=None) if table else None
    return f"{one.address} of {who(one.process)}" if one and (one.dropped or one.half_open) else ""


def sources(view: View) -> dict[str, int]:
    """Return the networks that have the most handshakes waiting here."""
    return dict(view.snapshot.sockets.half_open) if view.snapshot.sockets else {}


class Rate(NamedTuple):
    """Connections per second."""

    opened: float
    """Attempts: those that programs here make, those that they accept, and those that were refused here."""
    failed: float
    """Attempts that came to nothing."""
    baseline: float | None
    """What is usual; ``None``: nothing tells."""
    by: str
    """What the baseline is, in words."""


def rate(view: View) -> Rate | None:
    """Return how often connections are opened and fail; ``None`` with one sample."""
    now = _per_second(view.snapshot)
    counters = view.snapshot.counters
    if now is None or counters is None or counters.delta is None:
        return None
    failed = sum(counters.delta.get(name, 0) for name in _FAILED) / view.snapshot.interval
    platform = view.snapshot.platform
    if platform and platform.uptime >= YOUNG:
        usual = sum(counters.totals.get(name, 0) for name in _OPENED) / platform.uptime
        return Rate(now, failed, usual, "its own average since boot")
    all_ = view.once(_of_cohort, of_cohort=True)
    if len(all_) > 2:
        return Rate(now, failed, _median_without(all_, now), f"the median of {len(all_) - 1} peers")
    return Rate(now, failed, None, "")


def _of_cohort(view: View) -> list[float]:
    """Return the rates of a host and its peers, those that have one, in order."""
    rates = [_per_second(one.snapshot) for one in (view, *view.peers)]
    return sorted(one for one in rates if one is not None)


def _median_without(ordered: list[float], one: float) -> float:
    """Return the median of all values but ``one`` of them, which are in order."""
    left_out, number = bisect_left(ordered, one), len(ordered) - 1
    low, high = ((place + (place >= left_out)) for place in ((number - 1) // 2, number // 2))
    return ordered[low] if low == high else (ordered[low] + ordered[high]) / 2


def shown_rate(view: View, rate: Rate) -> dict[str, Any]:
    """Return a rate as evidence, with who connects and where it is refused."""
    return {
        "per_second": {"opened": round(rate.opened, 1), "failed": round(rate.failed, 1)},
        "usual": {"per_second": round(rate.baseline, 1), "by": rate.by} if rate.baseline is not None else None,
        "seconds": view.snapshot.interval,
        "listeners": listeners(view),
        "sources": sources(view),
    }


def targets(view: View) -> dict[str, int]:
    """Return the targets to which the most local ports are in use, with their number."""
    return {one.target: one.ports for one in view.snapshot.sockets.targets[:4]} if view.snapshot.sockets else {}


_OPENED = ("Tcp.ActiveOpens", "Tcp.PassiveOpens", "TcpExt.ListenDrops")
_FAILED = ("Tcp.AttemptFails", "TcpExt.ListenDrops")
"""A SYN or an ACK that a listener drops, for whatever reason, is in ListenDrops (tcp_listendrop in the kernel)."""


def _per_second(snapshot: Snapshot) -> float | None:
    counters = snapshot.counters
    if counters is None or counters.delta is None or snapshot.interval <= 0:
        return None
    return sum(counters.delta.get(name, 0) for name in _OPENED) / snapshot.interval
