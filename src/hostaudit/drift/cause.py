"""Who it was: from the journal, the boots of the host, its packages and what else it remembers. Pure.

In this order, and never more than is known: a change of ours that wrote this very value; a boot in between that lost
what was configured nowhere; the package manager, where the file that decides is of a package it touched; a program that
writes the key and is still there. Everything else is ``change-unrecorded``, with the time between two runs and what the
host remembers of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.drift.flat import ABSENT, key_of
from hostaudit.drift.model import By, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.drift.made import Made
    from hostaudit.drift.model import Line
    from hostaudit_agent.snapshot import Mention, PackageEvent, Platform, Traces

MOST = 3
"""Pieces of evidence of each kind."""
NEAR = 120
"""Seconds between what a package manager logs and the times of the files that it wrote."""
_LOST_WITH_A_BOOT = ("sysctl.knobs.", "firewall.", "link.", "route.", "conntrack.", "platform.modules")


@dataclass(frozen=True, slots=True)
class Around:
    """What is known around a host's lines."""

    platform: Platform | None = None
    made: Sequence[Made] = ()
    """Of this host, oldest first."""
    booted: float = 0.0
    """Unix time of the last boot."""
    booted_between: bool | None = None
    """It was booted since the last run that drift told of; ``None``: not known."""
    traces: Traces | None = None
    unread: Sequence[str] = ()
    """What of the traces could not be read, with reasons."""
    configured: Mapping[str, str] = field(default_factory=dict)
    """Sysctl -> ``VALUE (FILE)``, now."""


def who(line: Line, siblings: Iterable[Line], around: Around) -> Who:
    """Return who brought the fact to its value; ``siblings`` are the host's other lines."""
    if line.kinds == (Kind.UNREAD.value,):
        return Who(By.UNKNOWN, "")
    ours = [m for m in around.made if m.gave(line.path, line.now) and _within(line, m)]
    if ours:
        return Who(By.CHANGE, ours[-1].said(), change=ours[-1].change)
    if not line.since.after and not line.since.was:
        return Who(By.UNKNOWN, "it was so before the first run that is kept", _evidence(line, around, dated=False))
    between = f"between {line.since.after or 'the first run'} and {line.since.first or 'now'}"
    return (
        _boot(line, siblings, around)
        or _package(line, around)
        or _daemon(line, around, between)
        or Who(By.UNRECORDED, "no change of hostaudit brought this value", _evidence(line, around))
    )


def _within(line: Line, made: Made) -> bool:
    """Say whether a change ended in the time in which the fact changed; one that is older than the history counts."""
    since = line.since
    return (not since.after or made.ended >= since.after) and (not since.until or made.begun <= since.until)


def _boot(line: Line, siblings: Iterable[Line], around: Around) -> Who | None:
    if not around.booted_between or not line.path.startswith(_LOST_WITH_A_BOOT):
        return None
    begin, end = _window(line)
    if around.booted and not begin - NEAR <= around.booted <= end + NEAR:
        return None
    at = f"the boot of {stamp(around.booted)}" if around.booted else "a boot"
    key = key_of(line.path)
    if key and line.path.endswith(".running"):
        configured = around.configured.get(key, "")
        value, file = configured.partition(" (")[0], configured.partition(" (")[2].rstrip(")")
        if any(one.path == f"sysctl.knobs.{key}.configured" for one in siblings):
            return Who(By.REBOOT, f"applied by {at}: {file or 'its line'} says so now") if value == line.now else None
        if configured and value.split() != line.now.split():
            return None
        lost = f"{line.since.was} ran and was configured nowhere"
        return Who(By.REBOOT, f"lost with {at}: {lost}" + (f"; {file} says {value}" if file else ""))
    if line.now == ABSENT and not line.path.endswith(".configured"):
        return Who(By.REBOOT, f"gone since {at}: it ran, and nothing made it again")
    return None


def _package(line: Line, around: Around) -> Who | None:
    traces = around.traces
    if traces is None:
        return None
    begin, end = _window(line)
    events = [e for e in traces.packages if begin <= e.time <= end]
    key = key_of(line.path)
    if not events:
        return None
    if key:
        places = {_file(around.configured.get(key, "")), _file(line.since.was), _file(line.now)} - {""}
        for file in traces.files:
            if file.path not in places:
                continue
            mine = [e for e in events if e.package.partition(":")[0] == file.package]
            if not mine and not file.there:  # dpkg forgets the files of what it removed
                mine = [e for e in events if abs(e.time - file.changed) <= NEAR]
            if mine and begin - NEAR <= file.changed <= end + NEAR:
                did = "wrote" if file.there else "removed"
                return Who(By.PACKAGE, f"{_event(mine[-1])} {did} {file.path}", _evidence(line, around))
        return None
    named = [e for e in events if e.package.partition(":")[0] in line.path]
    return Who(By.PACKAGE, _event(named[-1])) if named else None


def _daemon(line: Line, around: Around, between: str) -> Who | None:
    key = key_of(line.path)
    if not key or not line.path.endswith(".running"):
        return None
    taken = [m for m in around.made if m.moves(line.path) and m.then.split() == line.since.was.split()]
    back = f"taken back {between} what {taken[-1].said()} had set" if taken else f"{between}"
    change = taken[-1].change if taken else ""
    writer = owners.writer(around.platform, key)
    if writer and (taken or writer.when.startswith("every")):
        return Who(By.DAEMON, f"{back}: {writer.name} writes it {writer.when}", _evidence(line, around), change)
    lives = [m for m in _mentions(around, key) if m.process]
    if lives:
        return Who(By.DAEMON, f"{back}: {_mention(lives[0])}, and runs", _evidence(line, around), change)
    jobs = [m for m in _mentions(around, key) if m.job]
    if jobs:
        return Who(By.DAEMON, f"{back}: {_mention(jobs[0])}", _evidence(line, around), change)
    if taken:
        return Who(By.UNRECORDED, f"{back}; who did is not known", _evidence(line, around), change)
    return None


def _evidence(line: Line, around: Around, *, dated: bool = True) -> tuple[str, ...]:
    """Return what the host remembers of that time, bounded; and what could not be read of it."""
    traces = around.traces
    if traces is None:
        return tuple(around.unread)
    begin, end = _window(line) if dated else (0.0, float("inf"))
    found: list[str] = []
    if dated:
        found += [
            f"{f.path} changed {stamp(f.changed)} ({f.owner}{f', package {f.package}' if f.package else ''})"
            for f in traces.files
            if begin <= f.changed <= end and f.there
        ][:MOST]
        found += [_event(e) for e in traces.packages if begin <= e.time <= end][-MOST:]
        found += [
            f"{login.user} logged in {stamp(login.time)} on {login.terminal} from {login.source or 'the console'}"
            for login in traces.logins
            if begin <= login.time <= end
        ][-MOST:]
        found += [f"{c.program} {stamp(c.time)}: {c.text}" for c in traces.commands if begin <= c.time <= end][-MOST:]
    key = key_of(line.path)
    found += [_mention(m) for m in _mentions(around, key)][:MOST] if key else []
    return (*found, *around.unread)


def _mentions(around: Around, key: str) -> list[Mention]:
    return [m for m in around.traces.mentions if m.word == key] if around.traces else []


def _mention(one: Mention) -> str:
    place = f"{one.file}:{one.line}" if one.line else one.file
    return f"process {one.process} ({place}) names it" if one.process else f"{place} names it"


def _event(one: PackageEvent) -> str:
    words = (one.package, one.action, one.version)
    return f"package {' '.join(word for word in words if word)}, {stamp(one.time)}"


def _window(line: Line) -> tuple[float, float]:
    """Return the time in which the fact changed, as Unix time; a minute more for clocks that differ."""
    begin = _unix(line.since.after) - 60 if line.since.after else 0.0
    return begin, (_unix(line.since.until) + 60 if line.since.until else float("inf"))


def _file(configured: str) -> str:
    """Return FILE of ``VALUE (FILE)``; empty for anything else."""
    return configured.rpartition(" (")[2].rstrip(")") if configured.endswith(")") else ""


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def stamp(time: float) -> str:
    """Return Unix time in RFC 3339, in UTC, as the times of runs beside it."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"
