"""What installed agents saw over the last day, as reports show it beside a run: rates, reboots, changed settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hostaudit.model import Collected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.audit import Answer
    from hostaudit.report.page.context import Context, Event, Series
    from hostaudit_agent.snapshot import Ring

SHOWN = {
    "conntrack.use": ("conntrack use", "%"),
    "conntrack.invalid": ("INVALID seen", "packets/s"),
    "conntrack.drop": ("conntrack drop", "packets/s"),
    "conntrack.early_drop": ("conntrack early_drop", "flows/s"),
    "TcpExt.ListenOverflows": ("accept queue overflows", "connections/s"),
    "TcpExt.TCPReqQFullDrop": ("SYN queue drops", "connections/s"),
    "TcpExt.IPReversePathFilter": ("reverse path filter", "packets/s"),
    "Tcp.RetransSegs": ("TCP retransmissions", "segments/s"),
    "softnet.dropped": ("processor backlog drops", "packets/s"),
}
INVALID, DEVICE, USE = "invalid_dropped ", "device ", "conntrack.use"
OF_A_HOST, MOST_POINTS, MOST_EVENTS = 8, 288, 16


def context(answers: Sequence[Answer]) -> Context | None:
    """Return what the rings of these hosts have; ``None`` where there is no ring."""
    from hostaudit.report.page.context import Context

    rings = {a.host.name: a.snapshot.ring for a in answers if isinstance(a, Collected) and a.snapshot.ring}
    given = {host: ring for host, ring in rings.items() if ring.present}
    if not given:
        return None
    return Context(
        series=tuple(one for host, ring in given.items() for one in _series(host, ring)),
        events=tuple(one for host, ring in given.items() for one in list(_events(host, ring))[:MOST_EVENTS]),
    )


def _series(host: str, ring: Ring) -> list[Series]:
    """Return the series of a host: INVALID drops first, then as in ``SHOWN``, then interfaces."""
    from hostaudit.report.page.context import Point, Series

    named = [(rank, label, one) for one in ring.series if (found := _label(one.name)) for rank, label in [found]]
    shown = []
    for _, (name, unit), one in sorted(named, key=lambda item: (item[0], -item[2].total))[:OF_A_HOST]:
        whole = one.name == USE
        points = [
            Point(time, value if whole or value is None else round(value / max(ring.step, 1), 3))
            for i, value in enumerate(one.points[:MOST_POINTS])
            if (time := _time(ring.started + i * ring.step))
        ]
        shown.append(Series(host, name, unit, tuple(points), 100.0 if whole else None))
    return shown


def _label(name: str) -> tuple[int, tuple[str, str]] | None:
    """Return the rank of a counter, and what people call it with its unit; ``None`` where it is not shown."""
    if name.startswith(INVALID):
        return 0, (f"INVALID dropped, {name.rpartition(' ')[2]}", "packets/s")
    if name in SHOWN:
        return 1 + list(SHOWN).index(name), SHOWN[name]
    if name.startswith(DEVICE):
        return 1 + len(SHOWN), (name.removeprefix(DEVICE), "packets/s")
    return None


def _events(host: str, ring: Ring) -> Iterator[Event]:
    from hostaudit.report.page.context import Event

    for boot in ring.boots:
        if time := _time(boot):
            yield Event(time, "started anew", "reboot", (host,))
    for change in ring.changes:
        if time := _time(change.until):
            yield Event(time, f"{change.name}: {change.before} -> {change.after}", "note", (host,))


def _time(seconds: float) -> str:
    """Return RFC 3339 in UTC; empty for a time that no clock has: it is from a host."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return ""
