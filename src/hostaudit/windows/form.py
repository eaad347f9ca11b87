"""The form in which windows are written, in the policy file and in the inventory. Pure.

A list; every entry has one of three verbs::

    [[windows]]
    allow = "0 22 * * mon-fri"       # when it begins: minute hour day month weekday, as in cron
    duration = "4h30m"
    timezone = "Europe/Berlin"
    name = "weeknights"              # optional, as is reason

    [[windows]]
    deny = "0 1 * * sat"
    duration = "90m"
    timezone = "Europe/Berlin"
    reason = "backup"

    [[windows]]
    freeze = {from = 2026-12-18, to = 2027-01-06}    # whole days, both included; or date-times, ``to`` excluded
    timezone = "Europe/Berlin"
    name = "year-end"
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from hostaudit.errors import PolicyError
from hostaudit.windows.rules import Freeze, Recurring, Windows

LONGEST = timedelta(days=31)
"""A window that is longer is a mistake or a freeze."""
_VERBS = ("allow", "deny", "freeze")
_DURATION = re.compile(r"(?=.)(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?", re.ASCII)


def parse(entries: Any, place: str = "hostaudit.toml: windows", source: str = "") -> Windows:
    """Turn the decoded list into Windows. Raises PolicyError naming the place and the entry, counted from 1."""
    if not isinstance(entries, list):
        raise PolicyError(f"{place}: expected a list of windows, each with one of: {', '.join(_VERBS)}")
    allow: list[Recurring] = []
    deny: list[Recurring | Freeze] = []
    for number, entry in enumerate(entries, 1):
        rule = _rule(entry, f"{place}, entry {number}")
        if isinstance(rule, Recurring) and rule.allow:
            allow.append(rule)
        else:
            deny.append(rule)
    return Windows(tuple(allow), tuple(deny), source)


def _rule(entry: Any, place: str) -> Recurring | Freeze:
    if not isinstance(entry, dict):
        raise PolicyError(f"{place}: expected a table with one of: {', '.join(_VERBS)}")
    verbs = [v for v in _VERBS if v in entry]
    if len(verbs) != 1:
        raise PolicyError(f"{place}: has {' and '.join(verbs) or 'none'} of {', '.join(_VERBS)}; write exactly one")
    verb = verbs[0]
    known = {verb, "timezone", "name", "reason"} | (set() if verb == "freeze" else {"duration"})
    for key in entry:
        if key not in known:
            raise PolicyError(f"{place}: {verb} takes no {key!r}; it knows: {', '.join(sorted(known))}")
    name, reason = (_text(entry.get(key, ""), key, place) for key in ("name", "reason"))
    zone = _zone(entry.get("timezone"), place)
    if verb == "freeze":
        start, end = _freeze(entry[verb], zone, f"{place}: freeze")
        return Freeze(start, end - start, zone, name, reason)
    length = _duration(entry.get("duration"), place)
    return Recurring(verb == "allow", _cron(entry[verb], f"{place}: {verb}"), length, zone, name, reason)


def _text(value: Any, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"{place}: {key} is text, not {value!r}")
    return value.strip()


def _zone(value: Any, place: str) -> ZoneInfo:
    if value is None:
        raise PolicyError(f'{place}: say in which timezone, as in timezone = "Europe/Berlin" or "UTC"')
    try:
        return ZoneInfo(_text(value, "timezone", place))
    except (KeyError, ValueError, OSError):
        raise PolicyError(
            f"{place}: no time zone {value!r} here; write it as in Europe/Berlin, or install the tzdata package"
        ) from None


def _duration(value: Any, place: str) -> timedelta:
    if value is None:
        raise PolicyError(f'{place}: say how long it lasts, as in duration = "4h30m"')
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PolicyError(f"{place}: duration is text like 4h30m, 90m or 2d, not {value!r}")
    days, hours, minutes = (int(part or 0) for part in match.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta(0) < length <= LONGEST:
        raise PolicyError(f"{place}: duration {value} is not between 1m and {LONGEST.days}d; for longer use freeze")
    return length


def _cron(value: Any, place: str) -> str:
    fields = _text(value, "the start", place).split()
    cron = " ".join(fields)
    if len(fields) != 5:
        raise PolicyError(f"{place} = {cron!r}: expected five fields: minute hour day-of-month month day-of-week")
    if fields[0] == "*":
        better = " ".join(["0", *fields[1:]])
        raise PolicyError(f"{place} = {cron!r}: would begin anew every minute; for the full hour write {better!r}")
    try:
        never = next(CronSim(cron, datetime(2000, 1, 1)), None) is None  # noqa: DTZ001 - a wall clock time
    except CronSimError as error:
        raise PolicyError(f"{place} = {cron!r}: {error}; write numbers, names (mon), lists, ranges, steps") from None
    if never:
        raise PolicyError(f"{place} = {cron!r}: no day of the calendar matches, it would never begin")
    return cron


def _freeze(value: Any, zone: ZoneInfo, place: str) -> tuple[datetime, datetime]:
    if not isinstance(value, dict) or set(value) != {"from", "to"}:
        raise PolicyError(f"{place}: expected {{from = 2026-12-18, to = 2027-01-06}}")
    start = min(_bounds(value["from"], zone, f"{place}: from", 0))
    end = max(_bounds(value["to"], zone, f"{place}: to", 1))
    if end <= start:
        raise PolicyError(f"{place}: ends at {value['to']}, before it begins at {value['from']}")
    return start, end


def _bounds(value: Any, zone: ZoneInfo, place: str, days: int) -> tuple[datetime, datetime]:
    """Return the instants that a date or date-time may mean: two where the clock jumps, and the longer freeze counts.

    A date means its midnight, ``days`` later.
    """
    try:
        if isinstance(value, str):
            value = date.fromisoformat(value) if len(value) <= len("2026-12-18") else datetime.fromisoformat(value)
        if not isinstance(value, date):
            raise PolicyError(f"{place} is a date or a date-time, not {value!r}")
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day) + timedelta(days)  # noqa: DTZ001 - zone follows
        if value.tzinfo is not None:
            return value.astimezone(UTC), value.astimezone(UTC)
        first, second = (value.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except (ValueError, OverflowError):
        raise PolicyError(f"{place}: {value!r} is not a date like 2026-12-18 or 2026-12-18T20:00") from None
    return first, second
