"""``hostaudit apply``: a plan, stage by stage (a role each), canaries first, batch by batch, until one is bad."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit import __version__
from hostaudit.apply import batches, runner, variables
from hostaudit.apply.resume import State
from hostaudit.change import back, before, job, turn, watch
from hostaudit.change.outcome import INTERRUPTED, ChangeOutcome, HostOutcome, Outcome, confirmed, why
from hostaudit.errors import FleetLockedError, HostauditError
from hostaudit.journal import Kind
from hostaudit.windows import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.change.context import Context
    from hostaudit.model import Collected, Plan, PlannedChange, Unreachable

REMEDIATE = "remediate.yml"


def apply(context: Context, plan: Plan, *, continues: str = "") -> Outcome:
    """Execute the plan's changes on the context's hosts. Raises HostauditError before anything is touched.

    ``continues``: the change whose window closed, where the plan is what that one left.
    """
    changes = before.chosen(context, plan)
    outcome = Outcome("apply", plan.id)
    if not changes:
        return outcome
    name = before.change_id(context)
    found = batches.stages(changes)
    first = batches.batches(found[0].changes, context.ways.serial)[0]
    before.check_times(context, changes)
    halves = before.half_fixes(context, plan, changes)
    before.open_window(context, first, name)
    with context.journal.lock(context.ways.fleet, context.actor, context.clock(), change=name) as lock:
        context.lock = lock
        answers = before.fresh(context, changes)
        done: set[str] = set()
        for number, stage in enumerate(found, 1):
            run = Run(context, f"{name}-{number}" if len(found) > 1 else name, stage, plan, answers)
            run.done, run.notes = done, {"halves": halves, "continues": continues}
            run.rest = tuple(change for later in found[number:] for change in later.changes)
            outcome.changes.append(run.outcome)
            run.execute()
            answers = {}
            if run.outcome.outcome != "done":
                skip(outcome, found[number:])
                break
        context.lock = None
        if context.ways.watch != 0 and outcome.exit_code != INTERRUPTED:
            watch.watch(context, outcome, changes)
    return outcome


def skip(outcome: Outcome, rest: Sequence[batches.Stage]) -> None:
    """Name the stages that were not begun."""
    for stage in rest:
        hosts = {name: HostOutcome(name) for name in stage.hosts}
        outcome.changes.append(ChangeOutcome("", stage.role, hosts, "failed", "not begun: the change before it failed"))


def given(context: Context, change: str, group: Sequence[PlannedChange]) -> dict[str, str]:
    """Return the extra variables of remediate.yml."""
    fixed = {
        "hostaudit_roles": [group[0].role],
        "hostaudit_change": change,
        "hostaudit_confirm": False,
        "hostaudit_guard": True,
        "hostaudit_confirm_timeout": context.ways.confirm_timeout,
        "hostaudit_serial": "100%",
        "hostaudit_hosts": "all",
        "hostaudit_max_fail_percentage": 0,
    }
    become = {"hostaudit_become": "true"} if context.settings.become else {}
    return {name: json.dumps(value) for name, value in fixed.items()} | become | variables.of_play(group)


class Run:
    """One stage of a plan as a change of the journal."""

    def __init__(
        self,
        context: Context,
        name: str,
        stage: batches.Stage,
        plan: Plan,
        answers: Mapping[str, Collected | Unreachable],
    ) -> None:
        self.context = context
        self.stage = stage
        self.plan = plan
        self.done: set[str] = set()
        """Hosts that this command has changed."""
        self.before = answers
        self.was: dict[str, Collected | Unreachable] = {}
        """Readings from before the change, of hosts that had their turn."""
        self.batch: tuple[str, ...] = ()
        """Hosts whose turn it is, or was when it went wrong: such a batch is kept by none of them."""
        self.rest: tuple[PlannedChange, ...] = ()
        """Of the plan, after this stage."""
        self.notes: dict[str, Any] = {}
        """Further things that the journal is to say."""
        self.outcome = ChangeOutcome(name, stage.role, {h: HostOutcome(h) for h in stage.hosts})
        self.job = job.Job(name, name, REMEDIATE, lambda group: given(context, name, group))

    def execute(self) -> None:
        """Run the batches; write down how it ended, whatever ended it."""
        cut = batches.batches(self.stage.changes, self.context.ways.serial)
        mine = True
        try:
            self._begin(cut)
            for number, batch in enumerate(cut):
                if not self._batch(number, batch):
                    break
        except KeyboardInterrupt:
            self._failed("interrupted", "interrupted")
        except FleetLockedError as error:
            self._failed("failed", str(error))
            mine = False  # somebody else may be at work on these hosts now
        except HostauditError as error:
            self._failed("window" if isinstance(error, before.WindowError) else "failed", str(error))
        if self.outcome.outcome != "done" and mine:
            self._take_back()
        self._end()

    def _failed(self, how: str, reason: str) -> None:
        self.outcome.outcome, self.outcome.reason = how, reason
        self.context.say(reason)

    def _begin(self, cut: Sequence[Sequence[PlannedChange]]) -> None:
        context, plan = self.context, self.plan
        context.record(
            Kind.CHANGE_BEGIN,
            self.outcome.id,
            action="apply",
            guard=self.job.guard,
            role=self.stage.role,
            plan=plan.id,
            run=plan.run,
            inventory=list(context.settings.inventory),
            hosts=list(self.stage.hosts),
            batches=[[c.host for c in batch] for batch in cut],
            changes=msgspec.to_builtins(self.stage.changes),
            confirm_timeout=context.ways.confirm_timeout,
            version=__version__,
            window=decide(context.clock(), *context.window(self.stage.hosts)).reason,
            **{name: value for name, value in self.notes.items() if value},
        )

    def _batch(self, number: int, batch: tuple[PlannedChange, ...]) -> bool:
        """Give one batch its turn; return whether the next one may begin."""
        context = self.context
        if context.lock:
            context.lock.check()
        names = job.hosts_of(batch)
        if number:
            before.open_window(context, batch, self.outcome.id, begun=True)
        context.say(f"{self._called(number, batch)}: {self.stage.role} on {', '.join(names)}")
        others = [c for c in self.stage.changes if c.host not in names and c.cohort in {b.cohort for b in batch}]
        beside = [*job.hosts_of(others), *(p for p in before.peers(context, batch) if p not in job.hosts_of(others))]
        first = number == 0 and bool(self.before)
        answers = self.before if first else context.read([*names, *beside[: before.PEERS]], context.ways.verify)
        before.check_stale([c for c in batch if c.host not in self.done], answers)
        one = turn.Turn(context, self.job, batch, tuple(beside[: before.PEERS]), tuple(self.done), answers)
        self.batch = tuple(names)
        try:
            good = one.run()
        finally:
            self.was |= {name: one.before[name] for name in names if name in one.before}
            self.outcome.hosts |= one.outcomes
            self.done |= {name for name, o in one.outcomes.items() if o.state is State.CONFIRMED}
        if not good:
            self.outcome.outcome = "failed"
            self.outcome.reason = why(one.outcomes)
        else:
            self.batch = ()
        return good

    def _called(self, number: int, batch: Sequence[PlannedChange]) -> str:
        if number == 0 and len(batch) == len(self.stage.changes) > 1 and self.stage.whole:
            return "all at once, because half of it is worse than none"
        return "canary" if number == 0 else f"batch {number + 1}"

    def _take_back(self) -> None:
        """Undo what is confirmed of a batch that went wrong, and earlier batches where half is worse than nothing."""
        names = confirmed(self.outcome.hosts.values())
        mine = [c for c in self.stage.changes if c.host in names and (self.stage.whole or c.host in self.batch)]
        if mine:
            undone = back.take_back(self.context, self.outcome.id, self.job.guard, mine, self.was)
            for name, (state, detail) in undone.items():
                self.outcome.hosts[name].state, self.outcome.hosts[name].detail = state, detail

    def _end(self) -> None:
        hosts = self.outcome.hosts
        if any(h.state is State.UNKNOWN for h in hosts.values()):
            return  # unfinished: `apply --resume` asks these hosts again
        left: list[PlannedChange] = []
        if self.outcome.outcome == "window":
            left = [c for c in self.stage.changes if hosts[c.host].state is not State.CONFIRMED] + list(self.rest)
            self.outcome.left = job.hosts_of(left)
            for name in self.outcome.left:
                if name in hosts and hosts[name].state is State.UNTOUCHED:
                    hosts[name].detail = "the window closed before its turn"
        with self.context.mending():
            self.context.record(
                Kind.CHANGE_END,
                self.outcome.id,
                outcome=self.outcome.outcome,
                why=self.outcome.reason,
                left=msgspec.to_builtins(left),
                hosts={
                    name: {"state": str(h.state), "detail": h.detail, "checks": h.checks} for name, h in hosts.items()
                },
            )


def checked(context: Context, plan: Plan, progress: Callable[[runner.Event], object]) -> Outcome:
    """Run the playbook in check mode only: what would change, from Ansible's own mouth. Touches nothing."""
    changes = before.chosen(context, plan)
    outcome = Outcome("check", plan.id)
    before.half_fixes(context, plan, changes)
    before.fresh(context, changes) if changes else None
    for stage in batches.stages(changes):
        entry = ChangeOutcome("", stage.role, {h: HostOutcome(h) for h in stage.hosts}, "checked")
        outcome.changes.append(entry)
        for group in variables.alike(stage.changes):
            names = [change.host for change in group]
            passed = given(context, "check", group)
            done = runner.play(
                REMEDIATE, names, passed, context.settings, "--check", "--diff", seconds=600, progress=progress
            )
            for name in names:
                entry.hosts[name].changed = [f"{e.role}: {e.task}: {e.diff}" for e in done.changed(name)]
                entry.hosts[name].detail = done.failed.get(name, "")
            entry.outcome = "failed" if done.failed else entry.outcome
    return outcome
