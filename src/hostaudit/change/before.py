"""What is looked at before anything is touched: hosts, facts, times, windows. A refusal is an exception."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from hostaudit.apply import probes
from hostaudit.change import job
from hostaudit.errors import HostauditError, UsageError
from hostaudit.facts import changed as stale
from hostaudit.halves import HALF, whole
from hostaudit.journal import Kind
from hostaudit.model import Collected
from hostaudit.windows import decide, fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.change.context import Context
    from hostaudit.model import Plan, PlannedChange, Unreachable

PEERS = 10
"""Hosts of a cohort that are read beside those that change; a cohort check wants three at least."""
MARGIN = 30
"""Seconds of the time for the confirmation that are left for connections."""


class StaleError(HostauditError):
    """The hosts are not what the plan rests on. The bit is that of drift."""

    exit_code = 16


class UnreachedError(HostauditError):
    """A host of the plan did not answer, so nothing was changed anywhere."""

    exit_code = 4


class WindowError(HostauditError):
    """Outside the change window. Cron may try again."""

    exit_code = 75


def chosen(context: Context, plan: Plan) -> list[PlannedChange]:
    """Return the changes of the hosts at hand. Raises UsageError when none is, or a host of the plan is not known."""
    names = job.hosts_of(plan.changes)
    missing = [name for name in names if name not in context.hosts]
    if missing and not context.limited:
        raise UsageError(
            f"the plan names {', '.join(missing[:3])}, which this inventory does not; give the inventory that it was "
            f"made from ({' '.join(f'-i {source}' for source in plan.inventory) or 'none'}), or choose with --limit"
        )
    if missing and len(missing) == len(names):
        raise UsageError("--limit leaves out every host of the plan; nothing was done")
    probes.declared(context.hosts.values())  # a mistake in there is said before anything is touched
    return [change for change in plan.changes if change.host in context.hosts]


def half_fixes(context: Context, plan: Plan, changes: Sequence[PlannedChange]) -> list[str]:
    """Say which hosts leave the chosen changes half a fix, which is worse than none; return the sentences."""
    if not whole(changes):
        return []
    chosen_ones = set(job.hosts_of(changes))
    found = [f"{d.host}: {d.reason}" for d in plan.declined if d.reason.startswith(HALF)]
    found += [
        f"{change.host}: {HALF}the plan changes it too, and --limit leaves it out"
        for change in plan.changes
        if whole([change]) and change.host not in chosen_ones
    ]
    for sentence in found:
        context.say(f"WARNING: {sentence}")
    return found


def fresh(context: Context, changes: Sequence[PlannedChange]) -> dict[str, Collected | Unreachable]:
    """Read all hosts of the plan, and their peers; raise StaleError where a fact does not hold any more."""
    names = job.hosts_of(changes)
    context.say(f"reading {len(names)} host{'s' if len(names) > 1 else ''} again")
    answers = context.read([*names, *peers(context, changes)], context.ways.verify)
    lost = {n: a.reason for n in names if not isinstance(a := answers[n], Collected)}
    if lost:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(lost.items()))
        raise UnreachedError(f"nothing was changed: {why}. Leave such a host out with --limit, or plan again later")
    check_stale(changes, answers)
    return answers


def check_stale(changes: Sequence[PlannedChange], answers: Mapping[str, Collected | Unreachable]) -> None:
    """Raise StaleError naming every fact that moved."""
    lines = []
    for change in changes:
        answer = answers.get(change.host)
        if isinstance(answer, Collected):
            lines += [f"  {change.host}: {phrase}" for phrase in stale(change, answer.snapshot)]
    if lines:
        raise StaleError(
            "the plan is stale, nothing was changed. Since it was made:\n"
            + "\n".join(dict.fromkeys(lines))
            + "\nLook at what changed, then make a new plan"
        )


def peers(context: Context, changes: Sequence[PlannedChange]) -> list[str]:
    """Return hosts of the same cohorts, beside those that change."""
    own, found = set(job.hosts_of(changes)), []
    for cohort in dict.fromkeys(change.cohort for change in changes):
        found += [h.name for h in context.hosts.values() if h.cohort == cohort and h.name not in own][:PEERS]
    return found


def change_id(context: Context) -> str:
    """Return a new name for a change; the guards on the hosts carry it too."""
    return f"{context.clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def check_times(context: Context, changes: Sequence[PlannedChange]) -> None:
    """Raise UsageError where a host would go back before it can have been judged."""
    ways = context.ways
    least = max(job.settle(change) for change in changes) + ways.verify + MARGIN
    if ways.confirm_timeout < least:
        raise UsageError(
            f"--confirm-timeout {ways.confirm_timeout} is too short: reading back and judging take up to {least:.0f} s"
        )


def open_window(context: Context, batch: Sequence[PlannedChange], change: str, *, begun: bool = False) -> str:
    """Return the window that the batch fits into with its undo; raise WindowError where there is none.

    ``begun``: batches before it were changed.
    """
    now, windows = context.clock(), context.window(job.hosts_of(batch))
    ways = context.ways
    needed = max(c.seconds for c in batch) + ways.verify + max(ways.confirm_timeout, *(c.undo_seconds for c in batch))
    decision = fits(now, timedelta(seconds=needed), *windows)
    if decision.open:
        return decision.reason
    if not ways.outside_window:
        so_far = (
            f"{', '.join(job.hosts_of(batch))} and what comes after were not touched"
            if begun
            else "Nothing was changed"
        )
        raise WindowError(f"{decision.reason}. {so_far}; wait, or use --outside-window with --reason if it cannot wait")
    context.record(
        Kind.WINDOW_OVERRIDE, change, hosts=job.hosts_of(batch), window=decide(now, *windows).reason, needed=needed
    )  # fmt: skip
    return f"overridden: {decision.reason}"
