"""What ``hostaudit drift`` does: read, compare four ways, find out since when and who, and remember what was told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.checks._alike import COMPARED
from hostaudit.cohort import cohorts
from hostaudit.commands.explaining import completed, explained
from hostaudit.drift import cause, flat, kinds
from hostaudit.drift.baseline import matches
from hostaudit.drift.kinds import Known
from hostaudit.drift.model import REACHED, Against, Drift, Kind, Line
from hostaudit.history.pack import split
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.commands.auditing import Audited
    from hostaudit.drift.baseline import Baseline
    from hostaudit.drift.made import Made
    from hostaudit.drift.settings import Settings
    from hostaudit.history import History, Stored
    from hostaudit.policy import Policy
    from hostaudit_agent.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared with what."""

    policy: Policy
    settings: Settings
    baseline: Baseline
    since: str = ""
    """Compare with the last run before this time, instead of the last one that drift told of."""
    traces: Any = None
    """Called with [(host, question)]; gives host -> (traces, what could not be read)."""


@dataclass(slots=True)
class _Before:
    """What the history knows of one host."""

    number: int = 0
    run: int = 0
    """The run that this one is compared with; 0: none."""
    known: Known | None = None
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    boot_id: str = ""


def found(
    done: Audited, history: History | None, now: Stored | None, made: Mapping[str, list[Made]], asked: Asked
) -> Drift:
    """Return everything that differs, with the lines that an earlier drift run told marked as known."""
    good = [a for a in done.answers if isinstance(a, Collected)]
    odd = _odd(good, asked.policy)
    told = history.told() if history else {}
    lines: list[Line] = []
    around: dict[str, cause.Around] = {}
    snapshots: dict[str, Snapshot] = {}
    for one, before in _befores(good, history, now, asked):
        mine, here = _host(one, before, odd.get(one.host.name, {}), asked)
        if not mine:
            continue
        snapshots[one.host.name] = one.snapshot
        until = now.number if now else max((r for rows in before.spans.values() for r, _ in rows), default=0)
        mine = [_known(_dated(line, before, history, until, done), told) for line in mine]
        around[one.host.name] = _around(one, before, here, made.get(one.host.name, []))
        lines += mine
    lines += [_known(line, told) for a in done.answers if isinstance(a, Unreachable) for line in [_silent(a)]]
    lines = explained(lines, around, asked.traces)
    lines = [completed(line, snapshots.get(line.host)) for line in lines]
    lines.sort(key=lambda line: (line.host, line.path))
    return Drift(done.run.id, done.run.started, tuple(lines), len(done.answers))


def facts(one: Collected) -> Known:
    """Return the facts of a snapshot, as the history would give them back."""
    parts, _ = split(one.snapshot)
    return known({name: msgspec.json.decode(data) for name, data in parts.items()})


def known(parts: Mapping[str, Any], where: str = "") -> Known:
    """Return what is known of a host from its surfaces as they are stored, decoded."""
    together: dict[str, str] = {}
    for surface, value in parts.items():
        together |= flat.facts(surface, value)
    return Known(together, flat.unread(parts.get("unread")), str((parts.get("head") or {}).get("agent", "")), where)


def of_run(history: History, stored: Stored, names: Sequence[str] = ()) -> Iterator[tuple[str, Known, dict[str, Any]]]:
    """Yield (host, what is known of it, what the inventory said) as of a stored run, in order of name."""
    read = history.read
    seen = set(read.seen(stored.number))
    hosts = {
        number: name for name, (number, _, _) in read.hosts().items() if name in seen and (not names or name in names)
    }
    from hostaudit.history import at

    for number, spans in read.spans(sorted(hosts, key=lambda n: hosts[n])):
        state = at(spans, stored.number)
        inventory = msgspec.json.decode(read.data(state["inventory"])) if state.get("inventory") else {}
        yield hosts[number], _of_state(history, state, f"run {stored.id}"), inventory


def _of_state(history: History, state: Mapping[str, int], where: str) -> Known:
    together: dict[str, str] = {}
    read = history.read
    for surface, blob in state.items():
        if surface in COMPARED:
            together |= read.facts_of(surface, blob)
    small = {name: msgspec.json.decode(read.data(state[name])) for name in ("head", "unread") if state.get(name)}
    return Known(together, flat.unread(small.get("unread")), str((small.get("head") or {}).get("agent", "")), where)


def _odd(good: Sequence[Collected], policy: Policy) -> dict[str, dict[str, Against]]:
    found_: dict[str, dict[str, Against]] = {}
    for members in cohorts(good).values():
        found_ |= kinds.cohort(members, policy)
    return found_


def _befores(
    good: Sequence[Collected], history: History | None, now: Stored | None, asked: Asked
) -> Iterator[tuple[Collected, _Before]]:
    """Yield each host with what the history knows of it."""
    if history is None:
        yield from ((one, _Before()) for one in good)
        return
    read = history.read
    from hostaudit.history import at

    all_ = read.hosts()
    limit = now.number if now else 1 << 60
    fixed = 0
    if asked.since:
        earlier = [run.number for run in read.runs(until=asked.since, newest=1) if run.number < limit]
        fixed = earlier[0] if earlier else 0
    by_number = {all_[one.host.name][0]: one for one in good if one.host.name in all_}
    yield from ((one, _Before()) for one in good if one.host.name not in all_)
    runs = {run.number: run for run in read.runs()}
    for number, spans in read.spans(by_number):
        one = by_number[number]
        earliest = min((rows[0][0] for rows in spans.values()), default=limit)
        reported = fixed or all_[one.host.name][2]
        if not reported and not asked.since:  # never told of: the last run that saw it
            starts = [run for run in runs if earliest <= run < limit]
            reported = max(starts, default=0)
        before = _Before(number, 0, None, spans)
        if reported and earliest <= reported < limit:
            where = runs[reported].id if reported in runs else "an older run"
            before.run = reported
            state = at(spans, reported)
            before.known = _of_state(history, state, f"run {where}")
            before.boot_id = (msgspec.json.decode(read.data(state.get("platform", 0))) or {}).get("boot_id", "")
        yield one, before


def _host(one: Collected, before: _Before, odd: Mapping[str, Against], asked: Asked) -> tuple[list[Line], Known]:
    """Return the lines of one host, not dated yet."""
    here = facts(one)
    platform = one.snapshot.platform
    against: dict[Kind, Mapping[str, Against]] = {
        Kind.CONFIGURED: kinds.configured(one, asked.policy),
        Kind.COHORT: odd,
    }
    accepted = asked.baseline.hosts.get(one.host.name)
    if accepted is not None:
        wanted = Known(accepted, agent=asked.baseline.version)
        against[Kind.BASELINE] = {
            path: Against(Kind.BASELINE, then) for path, (_, then) in kinds.compared(here, wanted).items()
        }
    if before.known is not None:
        where = before.known.where
        against[Kind.LAST] = {
            path: Against(Kind.LAST, then, where) for path, (_, then) in kinds.compared(here, before.known).items()
        }
    ignored = asked.settings.ignore
    kept = {kind: {p: a for p, a in all_.items() if not matches(p, ignored)} for kind, all_ in against.items()}
    return kinds.lines(one.host.name, here, kept, platform.hostname if platform else ""), here


def _dated(line: Line, before: _Before, history: History | None, until: int, done: Audited) -> Line:
    if history is None or not before.number or Kind.UNREAD.value in line.kinds:
        return line
    since = history.read.since(before.number, line.path, line.now, before.spans, until)
    if since.was and not since.run:  # this run is the first that saw it, and could not be stored
        since = replace(since, first=done.run.started, run=done.run.id, until=done.run.finished)
    return replace(line, since=since)


def _known(line: Line, told: Mapping[tuple[str, str], Line]) -> Line:
    """Mark what an earlier drift run told, and what it told and is over."""
    old = told.get((line.host, line.path))
    if old is None:
        return line
    if old.now == line.now or Kind.UNREAD.value in line.kinds:
        return replace(line, new=False, who=old.who, since=old.since if not line.since.first else line.since)
    return replace(line, returned=line.kinds == (Kind.LAST.value,) and line.now == old.since.was)


def _around(one: Collected, before: _Before, here: Known, made: Sequence[Made]) -> cause.Around:
    platform = one.snapshot.platform
    configured = {flat.key_of(path): value for path, value in here.facts.items() if path.endswith(".configured")}
    return cause.Around(
        platform, made, platform.booted if platform else 0.0, _booted_between(one, before), configured=configured
    )


def _booted_between(one: Collected, before: _Before) -> bool | None:
    platform = one.snapshot.platform
    if platform is None or not platform.boot_id or not before.boot_id:
        return None
    return platform.boot_id != before.boot_id


def _silent(answer: Unreachable) -> Line:
    return Line(answer.host.name, REACHED, "does not answer", (Against(Kind.UNREAD, "", answer.reason),))
