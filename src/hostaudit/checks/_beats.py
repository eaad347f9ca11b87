"""Whether losses come in beats, and which job beats alike. Pure; times in seconds."""

from __future__ import annotations

import re
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit_agent.snapshot import Job

LOOSE = 1.5
"""A job that starts by the second is seen a second earlier or later; a busy machine adds some."""
QUIET = 2
"""Bursts that are no further apart are one."""
_UNITS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60, "": 1}
_UNITS |= {"h": 3600, "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400}


class Beat(NamedTuple):
    """Bursts at equal distances."""

    period: float
    starts: tuple[int, ...]
    """Seconds into the series."""
    ratio: float
    """The mean burst, by its highest second, over what is usual between bursts (one at least)."""


def bursts(values: Sequence[int], ratio: float, least: float) -> list[tuple[int, int]]:
    """Return start and height of every burst: seconds with ``ratio`` times the usual number, and ``least``."""
    usual = max(1.0, median(values)) if values else 1.0
    found: list[tuple[int, int]] = []
    end = -QUIET - 1
    for second, value in enumerate(values):
        if value < max(least, ratio * usual):
            continue
        if second - end <= QUIET:
            found[-1] = (found[-1][0], max(found[-1][1], value))
        else:
            found.append((second, value))
        end = second
    return found


def beat(values: Sequence[int], ratio: float, least: float, shortest: float, beats: float) -> Beat | None:
    """Return the beat of a series: every burst is on it, and no more than one in five is missing; else ``None``.

    The first second is that in which a burst began. Bursts must be locked to one phase over the whole series: errors of
    the distances add up otherwise, as they do for what only looks regular.
    """
    found = bursts(values, ratio, least)
    if len(found) < max(3, beats):
        return None
    starts = [start for start, _ in found]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    rough = median(gaps)
    if rough < shortest:
        return None
    counts = [round((start - starts[0]) / rough) for start in starts]
    period = (starts[-1] - starts[0]) / counts[-1]
    locked = all(abs(start - starts[0] - n * period) <= LOOSE for start, n in zip(starts, counts, strict=True))
    if not locked or len(set(counts)) != len(counts) or len(found) < 0.8 * (counts[-1] + 1):
        return None
    usual = max(1.0, median(values))
    return Beat(period, tuple(starts), sum(height for _, height in found) / len(found) / usual)


def jobs(found: Sequence[Job], period: float) -> list[Job]:
    """Return the jobs that start with this period."""
    return [job for job in found if (own := every(job.schedule)) and abs(own - period) <= max(LOOSE, 0.02 * own)]


def every(schedule: str) -> int | None:
    """Return the period of a schedule that is the same all day; ``None`` for one that is not, or is not understood."""
    key, equals, value = schedule.partition("=")
    if equals and key.endswith("Sec"):
        parts = re.findall(r"(\d+)\s*([a-z]*)", value)
        return sum(int(n) * _UNITS[u] for n, u in parts) if parts and all(u in _UNITS for _, u in parts) else None
    text = (value if equals else schedule).strip()
    words = {"minutely": 60, "hourly": 3600, "@hourly": 3600}
    if text in words:
        return words[text]
    fields = text.split()
    if len(fields) == 5 and not equals:
        return _step(fields[0], 60, 60) if fields[1:] == ["*"] * 4 else None
    clock = re.fullmatch(r"(?:\*-\*-\* )?\*:([\d*/,]+)(?::([\d*/,]+))?|([\d*/,]+)", text)
    if not clock:
        return None
    minute, second = clock[1] or clock[3], clock[2] or "0"
    if re.fullmatch(r"0+", second):
        return _step(minute, 60, 60)
    return _step(second, 1, 60) if minute == "*" else None


def _step(field: str, unit: int, size: int) -> int | None:
    """Return the period of one field of a schedule: ``*``, ``*/5``, ``0/5``, ``0,30``, ``17``."""
    if field == "*":
        return unit
    step = re.fullmatch(r"(?:\*|\d+)/(\d+)", field)
    if step:
        return int(step[1]) * unit if int(step[1]) and size % int(step[1]) == 0 else None
    if not re.fullmatch(r"\d+(,\d+)*", field):
        return None
    times = sorted({int(n) for n in field.split(",")})
    gaps = {later - earlier for earlier, later in zip(times, [*times[1:], times[0] + size], strict=True)}
    return gaps.pop() * unit if len(gaps) == 1 else None
