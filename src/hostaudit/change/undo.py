"""``hostaudit rollback``: puts a confirmed change back, with the same guard, lock and window as a change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from hostaudit import __version__
from hostaudit.apply import batches
from hostaudit.apply.resume import Guard, State
from hostaudit.change import before, job, past, turn
from hostaudit.change.outcome import ChangeOutcome, HostOutcome, Outcome, why
from hostaudit.errors import HostauditError, UsageError
from hostaudit.halves import whole
from hostaudit.journal import Kind
from hostaudit.windows import decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.apply.guard import Reply, Thing
    from hostaudit.change.context import Context
    from hostaudit.model import PlannedChange

ROLLBACK = "rollback.yml"
SHOWN = frozenset({"value", "link"})
"""Kinds of things whose values are shown; of a file only whether it is the same: it may hold secrets."""


class ConflictError(HostauditError):
    """Somebody changed since what the change left behind. The bit is that of drift."""

    exit_code = 16


def rollback(context: Context, name: str, *, force: bool) -> Outcome:
    """Put a change back on the context's hosts. Raises HostauditError before anything is touched."""
    one = past.change(context.journal, name)
    names = _hosts(context, one)
    changes = [_turned(c) for c in one.changes if c.host in names]
    before.check_times(context, changes)
    together = not context.ways.serial and whole(changes)  # what is put back was there before: no canary is needed
    cut = [tuple(changes)] if together else batches.batches(changes, context.ways.serial)
    undo = f"{one.guard}-undo"  # as rollback.yml names it
    before.open_window(context, cut[0], undo)
    with context.journal.lock(context.ways.fleet, context.actor, context.clock(), change=undo) as lock:
        context.lock = lock
        replies = context.ask(names, "things", one.guard)
        _judge(replies, one, force=force)
        run = _Run(context, one, undo, changes, force=force)
        run.begin(cut, replies)
        run.execute(cut)
    return Outcome("rollback", changes=[run.outcome])


def three_way(things: Sequence[Thing]) -> list[str]:
    """Return before, what we wrote, and what is there now, a line for each thing that the change touched."""
    lines = []
    for thing in things:
        if thing.before == thing.after and thing.now == thing.after:
            continue
        label = f"{thing.kind} {thing.name}"
        if thing.kind in SHOWN:
            lines.append(
                f"{label}: before {_said(thing.before)}, we wrote {_said(thing.after)}, now {_said(thing.now)}"
            )
        elif thing.kind in ("file", "pve"):
            now = "as we left it" if thing.now == thing.after else "changed since"
            lines.append(f"{label}: {'was not there' if thing.before is None else 'was another'} before, now {now}")
    return lines


def _said(value: str | None) -> str:
    return "absent" if value is None else value


def _hosts(context: Context, one: past.Past) -> list[str]:
    """Return the hosts on which the change is in force, as far as the journal knows."""
    names = one.in_state(State.CONFIRMED)
    if not one.ended:
        raise UsageError(f"change {one.id} is unfinished; end it first: `hostaudit apply --resume`")
    if not names:
        raise UsageError(f"change {one.id} is in force on no host: it was put back, or never confirmed")
    missing = [n for n in names if n not in context.hosts]
    if missing and not context.limited:
        raise UsageError(f"change {one.id} is on {', '.join(missing[:3])}, which this inventory does not name")
    found = [n for n in names if n in context.hosts]
    if not found:
        raise UsageError(f"--limit leaves out every host of change {one.id}")
    return found


def _judge(replies: Mapping[str, Reply], one: past.Past, *, force: bool) -> None:
    """Raise where a host cannot be asked, keeps nothing, or was changed since."""
    lost = [f"{n}: {r.failure}" for n, r in replies.items() if r.failure]
    if lost:
        raise before.UnreachedError(f"nothing was put back: {'; '.join(lost)}. Leave such a host out with --limit")
    gone = [n for n, r in replies.items() if r.guard is not Guard.KEPT]
    if gone:
        raise UsageError(
            f"nothing was put back: {', '.join(gone)} keeps no change {one.guard} (any more): it was undone already, "
            "or is older than the changes that a host keeps. Leave such a host out with --limit"
        )
    refused = {n: r for n, r in replies.items() if r.code != 0}
    if refused and not force:
        lines = []
        for name, reply in sorted(refused.items()):
            lines.append(f"  {name}: {reply.said.removeprefix('guard: ')}")
            lines += [f"    {line}" for line in three_way(reply.things)]
        raise ConflictError(
            f"change {one.id} is not put back, nothing was touched: somebody changed something since.\n"
            + "\n".join(lines)
            + "\nTo put back what was there before the change all the same: --force --reason ..."
        )


class _Run:
    """The undo as a change of the journal."""

    def __init__(
        self, context: Context, one: past.Past, undo: str, changes: Sequence[PlannedChange], *, force: bool
    ) -> None:
        self.context = context
        self.one = one
        self.force = force
        self.changes = changes
        self.outcome = ChangeOutcome(undo, one.role, {c.host: HostOutcome(c.host) for c in changes})
        self.job = job.Job(undo, undo, ROLLBACK, self.variables, judged=False)

    def variables(self, group: Sequence[PlannedChange]) -> dict[str, str]:
        """Return the extra variables of rollback.yml."""
        del group
        fixed = {
            "hostaudit_change": self.one.guard,
            "hostaudit_confirm": False,
            "hostaudit_guard": True,
            "hostaudit_force": self.force,
            "hostaudit_confirm_timeout": self.context.ways.confirm_timeout,
            "hostaudit_serial": "100%",
            "hostaudit_hosts": "all",
            "hostaudit_max_fail_percentage": 0,
        }
        become = {"hostaudit_become": "true"} if self.context.settings.become else {}
        return {name: json.dumps(value) for name, value in fixed.items()} | become

    def begin(self, cut: Sequence[Sequence[PlannedChange]], replies: Mapping[str, Reply]) -> None:
        """Write down what is about to be undone, and what is there."""
        context, one = self.context, self.one
        context.record(
            Kind.ROLLBACK, self.outcome.id, of=one.id, force=self.force,
            things={name: three_way(reply.things) for name, reply in replies.items()},
        )  # fmt: skip
        hosts = job.hosts_of(self.changes)
        context.record(
            Kind.CHANGE_BEGIN,
            self.outcome.id,
            action="rollback",
            of=one.id,
            guard=self.job.guard,
            role=one.role,
            hosts=hosts,
            batches=[[c.host for c in batch] for batch in cut],
            changes=msgspec.to_builtins(self.changes),
            confirm_timeout=context.ways.confirm_timeout,
            version=__version__,
            window=decide(context.clock(), *context.window(hosts)).reason,
        )

    def execute(self, cut: Sequence[tuple[PlannedChange, ...]]) -> None:
        """Undo batch by batch; stop at the first bad one."""
        try:
            for number, batch in enumerate(cut):
                if not self._batch(number, batch):
                    break
        except KeyboardInterrupt:
            self.outcome.outcome = self.outcome.reason = "interrupted"
        except HostauditError as error:
            self.outcome.outcome, self.outcome.reason = "failed", str(error)
        hosts = self.outcome.hosts
        if any(h.state is State.UNKNOWN for h in hosts.values()):
            return
        states = {n: {"state": str(h.state), "detail": h.detail} for n, h in hosts.items()}
        self.context.record(
            Kind.CHANGE_END, self.outcome.id, outcome=self.outcome.outcome, why=self.outcome.reason, hosts=states
        )  # fmt: skip

    def _batch(self, number: int, batch: tuple[PlannedChange, ...]) -> bool:
        context = self.context
        if number:
            before.open_window(context, batch, self.outcome.id, begun=True)
        if context.lock:
            context.lock.check()
        context.say(f"putting back {self.one.id} on {', '.join(job.hosts_of(batch))}")
        one = turn.Turn(context, self.job, batch)
        try:
            good = one.run()
        finally:
            self.outcome.hosts |= one.outcomes
            for host in one.outcomes.values():
                if host.state is State.CONFIRMED:
                    undone(context, self.one.id, self.outcome.id, host.host)
        if not good:
            self.outcome.outcome = "failed"
            self.outcome.reason = why(one.outcomes)
        return good


def undone(context: Context, change: str, by: str, host: str) -> None:
    """Write into a change's record that this host is as before it."""
    state, detail = str(State.REVERTED), f"rolled back by {by}"
    context.record(Kind.STEP, change, host, step="state", phase="end", state=state, detail=detail)


def _turned(change: PlannedChange) -> PlannedChange:
    """Return the change whose wanted values are those from before."""
    knobs = tuple(replace(k, running=k.then, then=k.running) for k in change.knobs if k.running is not None)
    return replace(change, knobs=knobs)
