"""Pictures as inline SVG: sparklines, a value over time with the changes beside it, the attempts of a probe. Pure.

No script, no style attribute, no link: colours come from the page's style sheet by class. Every picture has its content
as text beside it, so it is hidden from screen readers, or says it in its label.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup

from hostaudit.report._spark import number, shrunk
from hostaudit.report._text import count, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.report.page.context import Series

MOST_POINTS = 360
"""Values drawn; of more, each is the largest of its share."""
STEPS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 28 * 86400)
"""Seconds between two labels of a time axis."""
Mark = tuple[int, float]
"""An event's number and its time, in seconds since the epoch."""


def seconds(time: str) -> float | None:
    """Return a time as seconds since the epoch; ``None``: it is none."""
    try:
        given = datetime.fromisoformat(time)
    except ValueError:
        return None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def sparkline(series: Series, width: int = 200, height: int = 32) -> Markup:
    """Return a small line of the values, its last one marked."""
    values = shrunk([p.value for p in series.points], width)
    top = _top(series)
    step = (width - 8) / max(1, len(values) - 1)
    dots = [None if v is None else (4 + n * step, _y(v, top, 3, height - 3)) for n, v in enumerate(values)]
    last = next((d for d in reversed(dots) if d), None)
    return Markup(
        '<svg class="spark" width="{w}" height="{h}" viewBox="0 0 {w} {h}" aria-hidden="true" focusable="false">'
        '<path class="area" d="{area}"/><path class="line" d="{path}"/>{last}</svg>'
    ).format(
        w=width,
        h=height,
        area=_area(dots, height - 2),
        path=_path(dots),
        last=Markup('<circle class="last" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(*last) if last else "",
    )


def chart(series: Series, marks: Sequence[Mark]) -> Markup:
    """Return the values over time, 0 at the bottom, with a numbered line at each event."""
    width, height, left, top_edge, bottom = 1000, 190, 56, 32, 160
    timed = sorted((t, p.value) for p in series.points if (t := seconds(p.time)) is not None)
    if not timed:
        return Markup()
    first, end = timed[0][0], max(timed[-1][0], timed[0][0] + 1)
    top = _top(series)

    def x(time: float) -> float:
        return left + (time - first) / (end - first) * (width - left - 16)

    times = shrunk([t for t, _ in timed], MOST_POINTS)
    values = shrunk([v for _, v in timed], MOST_POINTS)
    dots = [
        None if v is None or t is None else (x(t), _y(v, top, top_edge, bottom))
        for t, v in zip(times, values, strict=True)
    ]
    parts = [
        Markup('<path class="axis" d="M{l} {t}H{r}M{l} {b}H{r}"/>').format(l=left, t=top_edge, r=width - 16, b=bottom),
        _label(left - 8, top_edge + 4, number(top), "end"),
        _label(left - 8, bottom + 4, "0", "end"),
        *_times(first, end, left, width - 16, bottom + 20),
        Markup('<path class="area" d="{}"/><path class="line" d="{}"/>').format(_area(dots, bottom), _path(dots)),
    ]
    if series.limit is not None and series.limit < top:
        y = _y(series.limit, top, top_edge, bottom)
        parts.append(Markup('<path class="limit" d="M{} {:.1f}H{}"/>').format(left, y, width - 16))
    parts += [_mark(n, x(t), top_edge, bottom) for n, t in marks if first <= t <= end]
    return Markup('<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{parts}</svg>').format(
        w=width, h=height, label=told(series), parts=Markup().join(parts)
    )


def told(series: Series) -> str:
    """Return what a series is and does, in a sentence."""
    known = [p.value for p in series.points if p.value is not None]
    said = f"{line(series.name)} on {line(series.host)}"
    if not known:
        return f"{said}: no value was read"
    unit = f" {line(series.unit)}"
    return (
        f"{said}, {count(len(known), 'value')}: from {number(known[0])} to {number(known[-1])}{unit}, "
        f"between {number(min(known))} and {number(max(known))}"
    )


def attempts(strip: str) -> Markup:
    """Return a bar per attempt: tall for a handshake, short for none."""
    given = strip[:240]
    bars = "".join(f"M{2 + n * 3} {2 if mark == '+' else 11}V16" for n, mark in enumerate(given) if mark == "+")
    gaps = "".join(f"M{2 + n * 3} 11V16" for n, mark in enumerate(given) if mark != "+")
    return Markup(
        '<svg class="strip" width="{w}" height="18" viewBox="0 0 {w} 18" aria-hidden="true" focusable="false">'
        '<path class="good" d="{bars}"/><path class="bad" d="{gaps}"/></svg>'
    ).format(w=len(given) * 3 + 2, bars=bars, gaps=gaps)


def _top(series: Series) -> float:
    values = [p.value for p in series.points if p.value is not None]
    highest = max(values, default=0.0)
    if series.limit is not None and near(series):
        highest = max(highest, series.limit)
    return highest if highest > 0 else 1.0


def near(series: Series) -> bool:
    """Say whether a series comes near enough to its limit to be seen against it; one without a limit always does."""
    return series.limit is None or any(p.value is not None and p.value >= series.limit / 4 for p in series.points)


def _y(value: float, top: float, high: float, low: float) -> float:
    return low - max(0.0, min(value, top)) / top * (low - high)


def _runs(dots: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Return the stretches without a gap."""
    return [[d for d in run if d] for there, run in groupby(dots, lambda d: d is not None) if there]


def _path(dots: Sequence[tuple[float, float] | None]) -> str:
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in _runs(dots))


def _area(dots: Sequence[tuple[float, float] | None], bottom: float) -> str:
    return "".join(
        f"M{run[0][0]:.1f} {bottom}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"L{run[-1][0]:.1f} {bottom}Z"
        for run in _runs(dots)
    )


def _mark(n: int, x: float, top: float, bottom: float) -> Markup:
    return Markup(
        '<path class="event" d="M{x:.1f} {top}V{bottom}"/><circle class="event" cx="{x:.1f}" cy="{y}" r="10"/>'
        '<text class="number" x="{x:.1f}" y="{ty}" text-anchor="middle">{n}</text>'
    ).format(x=x, top=top, bottom=bottom, y=top - 14, ty=top - 10, n=n)


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _times(first: float, end: float, left: float, right: float, y: float) -> list[Markup]:
    """Return labels below the time axis at round times in UTC, with the date where a day begins."""
    step = next((s for s in STEPS if (end - first) / s <= 8), STEPS[-1])
    start = -(-first // step) * step
    count = min(int((end - start) // step) + 1, 60)
    every = -(-count // 8) or 1
    labels = []
    for t in (start + n * step for n in range(0, count, every)):
        moment = datetime.fromtimestamp(t, UTC)
        text = f"{moment:%d %b}" if t % 86400 == 0 else f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
        labels.append(_label(left + (t - first) / (end - first) * (right - left), y, text, "middle"))
    return labels
