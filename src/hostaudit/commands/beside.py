"""What the history and the journal know beside a run: rates of its hosts over the last runs, changes made meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hostaudit.journal import Kind
from hostaudit.model import Status
from hostaudit.report.page.context import Context, Event, Point, Series

if TYPE_CHECKING:
    from hostaudit.history import History, Stored
    from hostaudit.journal import Journal
    from hostaudit.model import Run
    from hostaudit_agent.snapshot import Snapshot

RUNS = 24
"""Runs that a series goes back."""
HOSTS = 12
"""Hosts that have series: those with findings, in the order of the findings, then those that were changed meanwhile, so
that a counter that goes flat stands beside the change that did it."""
LOST = ("drop", "early_drop", "insert_failed")
"""Counters of connection tracking that each mean a lost packet or flow."""


def of_history(history: History, journal: Journal, stored: Stored, run: Run) -> Context:
    """Return the context of a stored run, up to that run."""
    runs = [one for one in history.read.runs() if one.number <= stored.number][-RUNS:]
    events = _events(journal, runs[0].started, stored.finished)
    failed = [host for f in run.findings if f.status is Status.FAIL for host in f.hosts or (f.host,)]
    changed = [host for one in events for host in one.hosts]
    names = list(dict.fromkeys([*failed, *changed]))[:HOSTS] or [host.name for host in run.hosts][:HOSTS]
    points: dict[tuple[str, str, str], list[Point]] = {}
    for one in runs if len(runs) > 1 else ():
        for answer in history.read.snapshots(one, names):
            for name, unit, value in _values(answer.snapshot):
                points.setdefault((answer.host.name, name, unit), []).append(Point(one.started, value))
    series = tuple(
        Series(host, name, unit, tuple(given), 100 if unit == "%" else None)
        for (host, name, unit), given in sorted(points.items(), key=lambda item: names.index(item[0][0]))
        if any(point.value for point in given)
    )
    return Context(series=series, events=events)


def _values(snapshot: Snapshot) -> list[tuple[str, str, float | None]]:
    """Return name, unit and value of each; ``None`` where nobody counted."""
    table = snapshot.conntrack
    found: list[tuple[str, str, float | None]] = []
    if snapshot.firewall is not None and snapshot.interval:
        counted = [rule.delta for rule in snapshot.firewall.invalid if rule.delta is not None]
        known = bool(counted) or not snapshot.firewall.invalid  # without such a rule none is dropped as INVALID
        found.append(("INVALID dropped", "packets/s", round(sum(counted) / snapshot.interval, 2) if known else None))
    if table is not None and table.max and table.count is not None:
        found.append(("conntrack use", "%", round(100 * table.count / table.max, 1)))
    if table is not None and table.delta and snapshot.interval:
        lost = sum(table.delta.get(name, 0) for name in LOST)
        found.append(("conntrack drops", "per s", round(lost / snapshot.interval, 2)))
    return found


def _events(journal: Journal, since: str, until: str) -> tuple[Event, ...]:
    """Return the changes that were confirmed in this time, each once with the hosts of a batch."""
    from hostaudit.history.changes import made

    same: dict[tuple[str, str, str], list[str]] = {}
    known = {}
    ran: dict[str, dict[str, str]] = {}
    for host, changes in made(journal, datetime.fromisoformat(since)).items():
        for one in changes:
            if one.ended <= until:
                if one.change not in ran:
                    ran[one.change] = _ran(journal, one.change)
                time = ran[one.change].get(host, one.ended)
                same.setdefault((one.change, f"{one.knob} -> {one.then}", time), []).append(host)
                known[one.change] = one
    return tuple(
        Event(
            time,
            what,
            "rollback" if known[change].action == "rollback" else "change",
            tuple(hosts),
            ", ".join(filter(None, (known[change].by, known[change].why))),
            change,
        )
        for (change, what, time), hosts in same.items()
    )


def _ran(journal: Journal, change: str) -> dict[str, str]:
    """Return host -> when the roles had run there: what moved then is what they did, not what was confirmed later."""
    steps = [one for one in journal.entries(change=change, kinds=[Kind.STEP]) if one.payload.get("step") == "run"]
    return {
        str(host): f"{one.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        for one in steps
        if one.payload.get("phase") == "end"
        for host in one.payload.get("hosts", ())
    }
