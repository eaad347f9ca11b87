"""What the page shows beside the run, prepared: series with the events that fall into them, probes as a table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.report._spark import number
from hostaudit.report.page import svg

if TYPE_CHECKING:
    from markupsafe import Markup

    from hostaudit.report.page.context import Context, Event, Probed, Series

MOST_CHARTS = 8
"""Large pictures, of what a change may have moved; a table that is nearly empty and all others are small ones."""
MOST_SERIES = 120
KINDS = {
    "change": "changed by hostaudit",
    "rollback": "put back by hostaudit",
    "reboot": "reboot",
    "unrecorded": "changed, not recorded",
    "note": "note",
}


@dataclass(frozen=True)
class Row:
    """A series in the table."""

    series: Series
    picture: Markup
    most: str
    last: str


def view(context: Context) -> dict[str, Any]:
    """Return what the template names of a context."""
    events = sorted(context.events, key=lambda e: e.time)
    given = [s for s in context.series if any(p.value is not None for p in s.points)]
    charts = [(s, marks) for s in given if svg.near(s) and (marks := _marks(s, events))]
    return {
        "events": [(n, KINDS.get(e.kind, e.kind), e) for n, e in enumerate(events, 1)],
        "charts": [(s, svg.chart(s, marks)) for s, marks in charts[:MOST_CHARTS]],
        "series": [_row(s) for s in given[:MOST_SERIES]],
        "more_series": max(0, len(given) - MOST_SERIES),
        "drift": context.drift,
        **_probes(context.probes),
        "traces": context.traces,
    }


def _marks(series: Series, events: list[Event]) -> list[svg.Mark]:
    """Return the events of this host, or of all, that fall between its first value and its last."""
    times = [t for p in series.points if (t := svg.seconds(p.time)) is not None]
    if not times:
        return []
    here = [(n, svg.seconds(e.time)) for n, e in enumerate(events, 1) if not e.hosts or series.host in e.hosts]
    return [(n, t) for n, t in here if t is not None and min(times) <= t <= max(times)]


def _row(series: Series) -> Row:
    known = [p.value for p in series.points if p.value is not None]
    return Row(series, svg.sparkline(series), number(max(known)), number(known[-1]))


def _probes(probes: tuple[Probed, ...]) -> dict[str, Any]:
    """Return vantage points as rows and targets as columns."""
    targets = list(dict.fromkeys(p.target for p in probes))
    by = {(p.vantage, p.target): (p, svg.attempts(p.attempts)) for p in probes}
    vantages = dict.fromkeys(p.vantage for p in probes)
    return {"targets": targets, "probes": [(v, [by.get((v, t)) for t in targets]) for v in vantages]}
