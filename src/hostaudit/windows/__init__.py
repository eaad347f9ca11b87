"""May this change happen now, until when, and if not, when? Pure: ``now`` is an argument.

Every function takes the windows of one host or of all hosts of a batch; the batch is free when every one of them is.
A host without windows is always free: a plan, a named host and a person are needed anyway, and a tool that refuses
out of the box teaches everybody to override it. As soon as one allow window is declared, all other time is closed.

Times are answered in UTC and told, in ``reason``, in the zone of the window that decides.
The search for what comes is bounded (SEARCH steps): ``None`` is "none was found", and the reason says up to when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hostaudit.windows.form import parse
from hostaudit.windows.rules import Rule, Windows, combine, end_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

__all__ = ["Decision", "Opening", "Windows", "combine", "decide", "fits", "parse", "upcoming"]

SEARCH = 3000
"""Rules that are looked up before an answer is given up: eight years of nights, a tenth of a second."""
ENDLESS = timedelta(days=400)
"""Open for longer than this counts as open without end."""
TRIES = 200
"""Openings that are looked at for one that is long enough."""


@dataclass(frozen=True, slots=True)
class Decision:
    """May a change happen at the time asked about."""

    open: bool
    until: datetime | None
    """When it closes; ``None``: closed already, or no end in sight."""
    reason: str
    """A sentence for people, with the window's name, reason and times."""
    next_open: datetime | None = None
    """When it opens; ``None``: open already, or no opening was found."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A time in which changes are allowed without a break."""

    start: datetime
    end: datetime | None
    """Excluded; ``None``: no end in sight."""


def decide(now: datetime, *windows: Windows) -> Decision:
    """Say whether changes are allowed at ``now``, an aware datetime."""
    search = _Search(now, windows)
    closed = search.closed_by(search.now)
    if closed:
        opens, known = search.next_open()
        if opens is not None:
            closed += f"; opens {_told(opens, search.zone)}"
        else:
            closed += f"; no opening was found up to {_told(known, search.zone)}"
        return Decision(open=False, until=None, reason=closed, next_open=opens)
    until, why = search.until()
    return Decision(open=True, until=until, reason=why)


def fits(now: datetime, needed: timedelta, *windows: Windows) -> Decision:
    """Say whether work of ``needed`` (the batch, its verification *and* its undo) may begin at ``now``.

    ``open`` only if it ends before the window does. Otherwise ``next_open`` is the next opening that is long enough.
    """
    if needed < timedelta(0):
        raise ValueError("needed is negative")
    decision = decide(now, *windows)
    if decision.open and (decision.until is None or now + needed <= decision.until):
        return decision
    longest = timedelta(0)
    opens = None
    for opening in _openings(decision.until or now, windows, TRIES):
        if opening.end is None or opening.end - opening.start >= needed:
            opens = opening.start
            break
        longest = max(longest, opening.end - opening.start)
    if decision.open:
        assert decision.until is not None  # noqa: S101 - without an end it had fitted
        reason = f"needs {_length(needed)} with its undo, and {_length(decision.until - now)} are left: "
        reason += decision.reason
    else:
        reason = decision.reason
    if opens is None:
        reason += f"; no opening for {_length(needed)} was found, the longest ahead is {_length(longest)}"
    elif opens != decision.next_open:
        reason += f"; long enough from {_told(opens, _Search(now, windows).zone)}"
    return replace(decision, open=False, reason=reason, next_open=opens)


def upcoming(now: datetime, number: int, *windows: Windows) -> list[Opening]:
    """Return the next openings in order, at most ``number``; one that is open already begins ``now``.

    Fewer where the search was given up; the last one may then last longer than is said.
    """
    return list(_openings(now, windows, number))


def _openings(now: datetime, windows: Sequence[Windows], number: int) -> Iterator[Opening]:
    instant, steps = now, 0
    for _ in range(number):
        ahead = _Search(instant, windows)
        start, _known = ahead.next_open()
        if start is None:
            return
        inside = _Search(start, windows)
        end, _why = inside.until()
        yield Opening(start, end)
        steps += ahead.spent + inside.spent
        if end is None or steps > SEARCH:  # given up, or this very end is only "at least"
            return
        instant = end


class _ExhaustedError(Exception):
    pass


class _Search:
    """A walk forward along the rules of a batch, with a bound on its steps."""

    def __init__(self, now: datetime, windows: Sequence[Windows]) -> None:
        if now.tzinfo is None:
            raise ValueError("now has no time zone")
        self.now = now.astimezone(UTC)
        self.windows = list(dict.fromkeys(windows))  # a fleet has few different windows
        rules = [rule for one in self.windows for rule in (*one.allow, *one.deny)]
        self.spent = 0
        self.bound = SEARCH + 2 * len(rules)  # the first steps are always made
        self.zone: ZoneInfo | None = rules[0].zone if rules else None

    def closed_by(self, instant: datetime) -> str:
        """Return what forbids changes at the instant; empty when nothing does. Exact: it has no bound."""
        for one in self.windows:
            for rule in one.deny:
                end = end_of(rule, instant)
                if end is not None:
                    why = f": {rule.reason}" if rule.reason else ""
                    return f"closed by {rule.title}{_of(one)} until {_told(end, rule.zone)}{why}"
        for one in self.windows:
            if one.allow and all(end_of(rule, instant) is None for rule in one.allow):
                return f"closed: outside the allow windows{_of(one)}"
        return ""

    def until(self) -> tuple[datetime | None, str]:
        """Return when it closes, being open now, and why."""
        denies = [(s, rule, one) for one in self.windows for rule in one.deny if (s := rule.first_after(self.now))]
        denied = min(denies, key=lambda d: d[0], default=None)
        limit = min(denied[0] if denied else self.now + ENDLESS, self.now + ENDLESS)
        instant, least = self.now, ""
        ends: dict[Windows, tuple[datetime, Rule]] = {}
        closing: tuple[Windows, Rule] | None = None
        try:
            # from end to end, all hosts together, as long as another window follows without a gap
            while instant < limit and closing is None:
                for one in self.windows:
                    end = self._end(one.allow, instant)
                    if end is not None:
                        ends[one] = end
                    elif one.allow:
                        closing = one, ends[one][1]
                if closing is None:
                    instant = min((end for end, _rule in ends.values()), default=limit)
        except _ExhaustedError:
            least = "at least "
            first = min(ends, key=lambda one: ends[one][0])
            closing = first, ends[first][1]
        if closing is not None and instant < limit:
            told = f"open {least}until {_told(instant, closing[1].zone)}, when {closing[1].title}{_of(closing[0])} ends"
            return instant, told
        if denied is not None and denied[0] == limit:
            start, rule, one = denied
            return start, f"open until {_told(start, rule.zone)}, when {rule.title}{_of(one)} begins"
        return None, "open, without an end in sight" if self.zone else "open: no change windows are declared"

    def next_open(self) -> tuple[datetime | None, datetime]:
        """Return the first instant, from now on, that is open, and the instant up to which was looked."""
        instant = self.now
        try:
            while (moved := self._past(instant)) is not None:
                if moved == instant:
                    return instant, instant
                instant = moved
        except _ExhaustedError:
            pass
        return None, instant

    def _past(self, instant: datetime) -> datetime | None:
        """Return a later instant before which it is surely closed; the same one if it is open; ``None``: never."""
        for one in self.windows:
            end = self._end(one.deny, instant)
            if end is not None:
                return end[0]
            if one.allow and self._end(one.allow, instant) is None:
                starts = [s for rule in one.allow if (s := rule.first_after(instant)) is not None]
                return min(starts, default=None)
        return instant

    def _end(self, rules: Sequence[Rule], instant: datetime) -> tuple[datetime, Rule] | None:
        """Return the latest end among the rules in force at the instant."""
        self.spent += len(rules)
        if self.spent > self.bound:
            raise _ExhaustedError
        ends = [(end, rule) for rule in rules if (end := end_of(rule, instant)) is not None]
        return max(ends, key=lambda pair: pair[0], default=None)


def _of(windows: Windows) -> str:
    return f" of {windows.source}" if windows.source else ""


def _told(instant: datetime, zone: ZoneInfo | None) -> str:
    return f"{instant.astimezone(zone or UTC):%a %Y-%m-%d %H:%M %Z}"


def _length(duration: timedelta) -> str:
    """Return a duration in whole minutes, rounded up, as windows write it: ``4h30m``."""
    minutes = -(-duration // timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or not hours else "")
