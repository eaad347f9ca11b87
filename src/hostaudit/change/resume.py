"""``hostaudit apply --resume``: a change whose controller died, or whose window closed, brought to an end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit.apply.resume import Action, Progress, State, decide
from hostaudit.change import apply, back, past, undo
from hostaudit.change.likeness import as_before
from hostaudit.change.outcome import ChangeOutcome, HostOutcome, Outcome
from hostaudit.change.outcome import confirmed as confirmed_of
from hostaudit.errors import UsageError
from hostaudit.halves import whole
from hostaudit.journal import Kind
from hostaudit.journal.process import Fate
from hostaudit.model import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.apply.guard import Reply
    from hostaudit.change.context import Context

VERBS = {Action.CONFIRM: ("confirm", "20"), Action.REVERT: ("revert",), Action.ACKNOWLEDGE: ("revert",)}
TRIES = 3
"""How often a host is asked whose guard is at work, or that does not answer, a few seconds apart."""
PAUSE = 3.0


def resume(context: Context, name: str = "") -> Outcome:
    """End what is unfinished, one change or all of them, and go on with what had to wait for the next window.

    Raises UsageError where a host is not in the inventory, WindowError where that window is not open yet.
    """
    found = [past.change(context.journal, name)] if name else past.unfinished(context.journal)
    outcome = Outcome("resume")
    found = [one for one in found if not one.ended]
    _free(context, found)
    if found:
        _end(context, found, outcome)
    if any(change.outcome == "unfinished" for change in outcome.changes):
        return outcome
    exact = past.change(context.journal, name).id if name else ""
    later = [one for one in past.waiting(context.journal) if exact in ("", one.id)]
    for one in later:
        context.say(f"going on with {one.id}: {one.role} on {', '.join(dict.fromkeys(c.host for c in one.left))}")
        plan = Plan(one.plan, "", "", "", one.inventory, "", one.left, ())
        outcome.changes += apply.apply(context, plan, continues=one.id).changes
    if not found and not later:
        context.say("nothing is unfinished" + (f": {name} has ended" if name else ""))
    return outcome


def _end(context: Context, found: list[past.Past], outcome: Outcome) -> None:
    """Bring the changes of dead controllers to an end."""
    missing = sorted({h for one in found for h in one.hosts} - set(context.hosts))
    if missing:
        raise UsageError(
            f"the unfinished change is on {', '.join(missing[:3])} too, which this inventory does not name"
        )
    with context.journal.lock(context.ways.fleet, context.actor, context.clock(), change=found[-1].id) as lock:
        context.lock = lock
        for one in found:
            outcome.changes.append(_finish(context, one))
    context.lock = None


def _free(context: Context, found: list[past.Past]) -> None:
    """Break the lock of the controller that died, if it surely did; otherwise taking it says who holds it."""
    holder = context.journal.holder(context.ways.fleet)
    if holder is not None and holder.process.fate() is Fate.GONE:
        what = ", ".join(one.id for one in found) or "nothing: all changes have ended"
        why = f"resuming {what}; the process that held the fleet is gone"
        context.journal.break_lock(context.ways.fleet, context.actor, context.clock(), why)


def _finish(context: Context, one: past.Past) -> ChangeOutcome:
    """Bring each host of a change to one of its two ends."""
    context.say(f"resuming {one.id}: {one.role} on {', '.join(one.hosts)}")
    outcome = ChangeOutcome(one.id, one.role, {h: HostOutcome(h) for h in one.hosts}, "done")
    context.step(one.id, "resume", "begin", one.hosts)
    waiting = list(one.hosts)
    for turn in range(TRIES):
        time.sleep(PAUSE if turn else 0)
        waiting = _round(context, one, outcome, waiting)
        if not waiting:
            break
    _as_before(context, one, outcome)
    confirmed = confirmed_of(outcome.hosts.values())
    if one.action == "apply" and whole(one.changes) and confirmed and len(confirmed) < len(one.hosts):
        mine = [change for change in one.changes if change.host in confirmed]
        for name, (state, detail) in back.take_back(context, one.id, one.guard, mine, {}).items():
            outcome.hosts[name].state, outcome.hosts[name].detail = state, detail
        confirmed = confirmed_of(outcome.hosts.values())
    for host in outcome.hosts.values():
        context.record(
            Kind.STEP, one.id, host.host, step="state", phase="end", state=str(host.state), detail=host.detail
        )
        context.say(f"{host.host}: {host.state}{f': {host.detail}' if host.detail else ''}")
        if one.of and host.state is State.CONFIRMED:
            undo.undone(context, one.of, one.id, host.host)
    if any(host.state is State.UNKNOWN for host in outcome.hosts.values()):
        outcome.outcome = "unfinished"
        outcome.reason = "a host could not be asked; run it again when it answers"
        return outcome
    outcome.outcome = "done" if len(confirmed) == len(one.hosts) else "failed"
    outcome.reason = "" if outcome.outcome == "done" else "its controller died; see the state of each host"
    states = {n: {"state": str(h.state), "detail": h.detail} for n, h in outcome.hosts.items()}
    context.record(Kind.CHANGE_END, one.id, outcome=outcome.outcome, why=outcome.reason, resumed=True, hosts=states)
    return outcome


def _as_before(context: Context, one: past.Past, outcome: ChangeOutcome) -> None:
    """Wait until the hosts that went back are as before, and say which is not."""
    mine = [c for c in one.changes if outcome.hosts[c.host].state is State.REVERTED]
    for name, other in as_before(context, mine, {}, planned=one.action == "apply").items():
        host = outcome.hosts[name]
        host.state = State.SETTLING
        host.detail = "; ".join(text for text in (host.detail, back.NOT_YET + other) if text)


def _round(context: Context, one: past.Past, outcome: ChangeOutcome, names: list[str]) -> list[str]:
    """Ask each host, act on the answer; return those that are to be asked again."""
    verbs: dict[tuple[str, ...], list[str]] = {}
    again = []
    for name, reply in context.ask(names, "state", one.guard).items():
        host = outcome.hosts[name]
        if reply.failure:
            host.state, host.detail = State.UNKNOWN, reply.failure
            again.append(name)
            continue
        decision = decide(one.progress.get(name, Progress()), reply.guard, reply.events)
        host.state, host.detail = decision.state, reply.reason
        if decision.action in VERBS:
            verbs.setdefault(VERBS[decision.action], []).append(name)
    for verb, mine in verbs.items():
        context.step(one.id, verb[0], "begin", mine)
        again += _done(context.ask(mine, verb[0], one.guard, *verb[1:]), outcome)
        context.step(one.id, verb[0], "end", mine)
    return again


def _done(replies: Mapping[str, Reply], outcome: ChangeOutcome) -> list[str]:
    """Take note of what the guards answered; return the hosts that are not at an end yet."""
    again = []
    for name, reply in replies.items():
        if reply.failure or reply.code not in (0, 3, 4):
            outcome.hosts[name].state = State.UNKNOWN
            outcome.hosts[name].detail = reply.failure or reply.said
            again.append(name)
        elif reply.code:  # another command of the guard was faster: its timer, or what a killed controller asked for
            outcome.hosts[name].state = decide(Progress(begun=True), reply.guard, reply.events).state
            outcome.hosts[name].detail = reply.reason
    return again
