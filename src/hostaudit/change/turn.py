"""One batch: read, arm and change, read back, probe, judge, confirm; or put everything back.

A batch is changed whole or not at all: one bad host sends all of it back. Every step is in the journal before it
begins and after it has ended. The hosts' own guards are the net below: whatever happens here, a host that was not
confirmed in time goes back by itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostaudit.apply import judge, probes, readback, runner
from hostaudit.apply.heartbeat import beating
from hostaudit.apply.resume import Guard, State
from hostaudit.apply.variables import alike
from hostaudit.change.back import back
from hostaudit.change.context import Context, collected
from hostaudit.change.job import PATIENCE, Job, settle
from hostaudit.change.outcome import WITH_BATCH, HostOutcome
from hostaudit.change.waiting import Waiting
from hostaudit.evaluate import evaluate
from hostaudit.failures import excerpt
from hostaudit.journal import Kind
from hostaudit.model import Collected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hostaudit.model import Finding, PlannedChange, Unreachable


@dataclass(slots=True)
class Turn:
    """One batch of a change."""

    context: Context
    job: Job
    changes: tuple[PlannedChange, ...]
    peers: tuple[str, ...] = ()
    """Hosts of the same cohorts that are read for comparison."""
    changed: Collection[str] = ()
    """Hosts that this run has changed already; the others are the control group."""
    before: Mapping[str, Collected | Unreachable] = field(default_factory=dict)
    outcomes: dict[str, HostOutcome] = field(default_factory=dict)
    worked: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Probes before the change."""
    armed: float = 0.0
    """Monotonic clock: when the last guard can have been armed."""

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts of the batch."""
        return tuple(change.host for change in self.changes)

    def run(self) -> bool:
        """Do it; return whether all hosts are changed and confirmed. ``outcomes`` says what each one is."""
        self.outcomes = {name: HostOutcome(name) for name in self.names}
        bad = self._look()
        if bad:
            self._note(bad)
            return False
        try:
            bad = self._play() or self._read_back() or self._verify() or self._confirm()
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            self._note(dict.fromkeys(self.names, excerpt(why)))
            back(self)
            raise
        if bad:
            self._note(bad)
            back(self)
        return not bad

    # ---- the steps; each returns the hosts that are bad, with the reason

    def _look(self) -> dict[str, str]:
        """Read hosts and peers, and try the probes, before anything is touched."""
        context, wanted = self.context, (*self.names, *self.peers)
        context.step(self.job.change, "look", "begin", self.names, peers=list(self.peers))
        if not all(name in self.before for name in wanted):
            self.before = context.read(wanted, context.ways.verify)
        bad = {
            name: f"not reached: {answer.reason}"
            for name, answer in self.before.items()
            if name in self.names and not isinstance(answer, Collected)
        }
        if not bad:
            self.worked = self._probe()
        context.step(self.job.change, "look", "end", self.names, bad=bad, probes=self.worked)
        return bad

    def _play(self) -> dict[str, str]:
        """Arm the guards and run the role."""
        context, job = self.context, self.job
        context.step(job.change, "run", "begin", self.names)
        bad: dict[str, str] = {}
        for group in alike(self.changes):
            names = [change.host for change in group]
            seconds = context.ways.confirm_timeout + 4 * max(change.seconds for change in group)
            self.armed = time.monotonic() + seconds
            try:
                with beating(context.ask, self.names, job.guard, context.ways.confirm_timeout):
                    done = runner.play(
                        job.playbook,
                        names,
                        job.variables(group),
                        context.settings,
                        seconds=seconds,
                        progress=self._progress,
                    )
            except runner.RunnerError as error:
                bad = dict.fromkeys(names, str(error))
                break
            finally:
                self.armed = time.monotonic()
            failed = {h: why for h, why in done.failed.items() if h in names}
            bad |= failed or (dict.fromkeys(names, done.failed[""]) if "" in done.failed else {})
            for name in names:
                lines = [f"{e.role or 'play'}: {e.task}: {e.diff}".rstrip(": ") for e in done.changed(name)]
                self.outcomes[name].changed += lines
            if bad:
                break
        changed = {name: self.outcomes[name].changed for name in self.names}
        context.step(job.change, "run", "end", self.names, bad=bad, changed=changed)
        return bad

    def _read_back(self) -> dict[str, str]:
        """Read the knobs over new connections, until they are right or it is too late for that; then those at boot."""
        context, told = self.context, Waiting(self.context.say)
        context.step(self.job.change, "read-back", "begin", self.names)
        end = time.monotonic() + max(settle(change) for change in self.changes) + PATIENCE
        while True:
            answers = context.read(self.names, 0)
            bad = self._wrong(answers)
            if not bad or time.monotonic() > end:
                break
            told(f"waiting for {', '.join(sorted(bad))}: {next(iter(bad.values()))}")
            time.sleep(1)
        bad = bad or self._wrong_at_boot(answers)
        for change in self.changes:
            self._keep_knobs(change, answers[change.host])
        knobs = {name: self.outcomes[name].knobs for name in self.names}
        context.step(self.job.change, "read-back", "end", self.names, bad=bad, knobs=knobs)
        return bad

    def _verify(self) -> dict[str, str]:
        """Try the probes again, and judge a window after the change against one before, and against the peers."""
        context = self.context
        context.step(self.job.change, "verify", "begin", self.names)
        answers = context.read((*self.names, *self.peers), context.ways.verify)
        tried = self._probe()
        reasons = {n: [w] for n, w in self._wrong({n: answers[n] for n in self.names}).items()}
        for name in self.names:
            reasons.setdefault(name, []).extend(probes.lost(self.worked[name], tried[name]))
        if self.job.judged:
            before = evaluate(collected(self.before), context.policy)
            after = evaluate(collected(answers), context.policy)
            for change in self.changes:
                reasons[change.host] += self._judge(change, before, after)
        bad = {name: "; ".join(why) for name, why in reasons.items() if why}
        checks = {name: self.outcomes[name].checks for name in self.names}
        context.step(
            self.job.change, "verify", "end", self.names, ok=not bad, bad=bad, checks=checks, probes=tried
        )  # fmt: skip
        return bad

    def _confirm(self) -> dict[str, str]:
        """End the guards. From here on a host stays changed."""
        context, job = self.context, self.job
        if context.lock:
            context.lock.check()
        context.step(job.change, "confirm", "begin", self.names)
        bad: dict[str, str] = {}
        for name, reply in context.ask(self.names, "confirm", job.guard, "20").items():
            if reply.code == 0 or reply.guard is Guard.KEPT:
                self.state(name, State.CONFIRMED)
            else:
                bad[name] = reply.failure or reply.said or f"the guard ended with exit code {reply.code}"
        context.step(job.change, "confirm", "end", self.names, bad=bad)
        return {name: f"not confirmed: {why}" for name, why in bad.items()}

    # ---- parts of the steps

    def _probe(self) -> dict[str, dict[str, bool]]:
        targets = probes.declared(self.context.hosts[name] for name in self.names)
        tried = probes.handshakes(t for mine in targets.values() for t in mine)
        return probes.results(self.names, targets, tried, self.context.ask(self.names, "gateways"))

    def _wrong(self, answers: Mapping[str, Collected | Unreachable]) -> dict[str, str]:
        bad = {}
        for change in self.changes:
            answer = answers[change.host]
            if not isinstance(answer, Collected):
                bad[change.host] = f"not reached over a new connection: {answer.reason}"
            elif wrong := readback.wrong(answer.snapshot, change):
                bad[change.host] = "; ".join(wrong)
        return bad

    def _wrong_at_boot(self, answers: Mapping[str, Collected | Unreachable]) -> dict[str, str]:
        if not self.job.judged:
            return {}
        found = self.context.boot(self.changes)
        bad: dict[str, str] = {}
        for change in self.changes:
            answer = answers[change.host]
            if isinstance(answer, Collected):
                wrong = readback.wrong_at_boot(answer.snapshot, change, found[change.host])
                bad |= {change.host: "; ".join(wrong)} if wrong else {}
        return bad

    def _judge(self, change: PlannedChange, before: Sequence[Finding], after: Sequence[Finding]) -> list[str]:
        unchanged = [p for p in self.peers if p not in self.changed]
        found = judge.verdict(change.host, change.checks, before, after, unchanged)
        self.outcomes[change.host].checks = {check: str(state) for check, state in found.checks.items()}
        return found.bad(keep_active=self.context.ways.keep_active)

    def _keep_knobs(self, change: PlannedChange, answer: Collected | Unreachable) -> None:
        seen = readback.knobs(answer.snapshot, change) if isinstance(answer, Collected) else {}
        self.outcomes[change.host].knobs = {
            k.knob: [k.running, k.then, seen[k.knob].running if k.knob in seen else None] for k in change.knobs
        }

    def state(self, name: str, state: State, detail: str = "") -> None:
        """Say, and write down, what a host is now."""
        outcome = self.outcomes[name]
        outcome.state = state
        outcome.detail = "; ".join(text for text in (outcome.detail, detail) if text)
        self.context.say(f"{name}: {state}{f': {detail}' if detail else ''}")
        self.context.record(
            Kind.STEP, self.job.change, name, step="state", phase="end", state=str(state), detail=outcome.detail
        )  # fmt: skip

    def _note(self, bad: Mapping[str, str]) -> None:
        """Keep why the batch is bad; hosts that are good go back with it."""
        names = ", ".join(sorted(bad))
        for name in self.names:
            if self.outcomes[name].state is not State.CONFIRMED:
                self.outcomes[name].detail = bad.get(name) or f"{WITH_BATCH}{names}"
        for name, why in sorted(bad.items()):
            self.context.say(f"{name}: {why}")

    def _progress(self, event: runner.Event) -> None:
        if event.status in ("changed", "failed", "unreachable"):
            what = event.diff.partition("\n")[0] if event.status == "changed" else ""  # why it failed is said below
            self.context.say(f"{event.host}: {event.status}: {event.task}{f': {what}' if what else ''}")
