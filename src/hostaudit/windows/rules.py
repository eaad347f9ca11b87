"""When windows begin: cron in a time zone, and freezes. Pure.

cronsim answers which wall clock times match; the way from wall clock to instants is here, because its own gives, with
a zone, starts that lie in the past (asked in the second pass of a repeated hour) and misses starts where the shift is
not a whole hour (Lord Howe Island). The rules are those of Debian's cron(8), and for a deny the careful reading:

- Minute and hour both without ``*``: the start is a point of the wall clock. Skipped by the clock, it is at the end of
  the gap. Shown twice, it opens an allow window once, the first time, and a deny window both times.
- Otherwise the start is wherever the wall clock shows it: never in a gap, twice in a repeated hour.

A duration is elapsed time: 4h are four hours in every night of the year.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cronsim import CronSim

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A window that begins whenever the wall clock of ``zone`` matches ``cron`` and lasts ``length``."""

    allow: bool
    cron: str
    length: timedelta
    zone: ZoneInfo
    name: str = ""
    reason: str = ""

    @property
    def title(self) -> str:
        """Return how messages call it: ``deny window "backup"``."""
        return f'{"allow" if self.allow else "deny"} window "{self.name or self.cron}"'

    def first_after(self, instant: datetime) -> datetime | None:
        """Return the first start later than ``instant``, in UTC; ``None`` when there is none for 50 years."""
        local = instant.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        # in a repeated hour, what the clock has shown already may come again: begin before it
        repeated = max(_offset(wall, self.zone, 0) - _offset(wall, self.zone, 1), _NONE)
        best: datetime | None = None
        for shown in CronSim(self.cron, wall - repeated):
            later = [i for i in self._instants(shown) if i > instant]
            if later and (best is None or later[0] < best):
                best = later[0]
            if best is not None and shown > wall:
                break
        return best

    def _instants(self, wall: datetime) -> list[datetime]:
        """Return the instants at which it begins because of this wall clock time, in order."""
        fields = self.cron.split()
        fixed = not fields[0].startswith("*") and not fields[1].startswith("*")
        both = [wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        real = [i for i in dict.fromkeys(both) if i.astimezone(self.zone).replace(tzinfo=None, fold=0) == wall]
        if not real:
            return [_end_of_gap(both[1], both[0], self.zone)] if fixed else []
        return real[:1] if fixed and self.allow else real


@dataclass(frozen=True, slots=True)
class Freeze:
    """A deny from one instant to another."""

    start: datetime
    length: timedelta
    zone: ZoneInfo
    name: str = ""
    reason: str = ""

    @property
    def title(self) -> str:
        """Return how messages call it."""
        return f'freeze "{self.name}"' if self.name else "freeze"

    def first_after(self, instant: datetime) -> datetime | None:
        """Return its start if that is later than ``instant``."""
        return self.start if self.start > instant else None


Rule = Recurring | Freeze


def end_of(rule: Rule, instant: datetime) -> datetime | None:
    """Return when the rule ends that is in force at ``instant``; ``None`` when it is not in force.

    In force from its start (included) to its end (excluded). Where a rule overlaps itself the answer is the end of
    the occurrence that began first, so ask again at that end.
    """
    start = rule.first_after(instant - rule.length)
    return start + rule.length if start is not None and start <= instant else None


@dataclass(frozen=True, slots=True)
class Windows:
    """What one policy, or one host, declares. Empty: changes are always allowed."""

    allow: tuple[Recurring, ...] = ()
    """At least one must be in force; when none is declared, the time is free but for ``deny``."""
    deny: tuple[Rule, ...] = ()
    """None may be in force: deny wins."""
    source: str = field(default="", compare=False)
    """Whose they are, for messages: ``host pve3``. Two hosts with the same windows compare equal."""


def combine(policy: Windows, host: Windows) -> Windows:
    """Return the windows of a host: its own allow windows replace the policy's, denials of both hold."""
    deny = tuple(dict.fromkeys(policy.deny + host.deny))
    return Windows(host.allow or policy.allow, deny, host.source or policy.source)


def _offset(wall: datetime, zone: ZoneInfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or _NONE


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first whole minute after a jump of the clock that lies between the two instants."""
    old = before.astimezone(zone).utcoffset()
    while after - before > _MINUTE:
        middle = before + (after - before) // 2 // _MINUTE * _MINUTE
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
