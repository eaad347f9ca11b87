"""Puts back what was not confirmed; where a host cannot be reached, waits until its own guard has done it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit.apply.resume import Guard, State
from hostaudit.change.likeness import as_before
from hostaudit.change.waiting import Waiting
from hostaudit.journal import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.apply.guard import Reply
    from hostaudit.change.context import Context
    from hostaudit.change.turn import Turn
    from hostaudit.model import Collected, PlannedChange, Unreachable

SLACK = 60
"""Seconds, after the time for the confirmation is over, in which a host must be as before. systemd tries each 15 s."""
PAUSE = 2.0
"""Seconds between two questions."""
TRIES = 3
"""How often a host is asked to put a confirmed change back: no timer of its own would do it."""
ASKED = "asked for"
"""The guard's reason where somebody asked it to, as is done here: no news."""
NOT_YET = "not yet as before: "


def back(turn: Turn) -> None:
    """Put a batch back; its outcomes say afterwards what each host is. Raises nothing but a second Ctrl-C's end."""
    context, change = turn.context, turn.job.change
    waiting = [name for name in turn.names if turn.outcomes[name].state is not State.CONFIRMED]
    if not waiting:
        return
    with context.mending():
        context.step(change, "revert", "begin", waiting)
        context.say(f"putting back: {', '.join(waiting)}")
        failures = dict.fromkeys(waiting, "not asked")
        ended: dict[str, tuple[State, str]] = {}
        try:
            _until_back(turn, failures, ended)
        except KeyboardInterrupt:
            context.say("interrupted again: what is not back yet is left to the guards on the hosts")
        left = {name: why for name, why in failures.items() if why}
        for name, why in left.items():
            turn.state(name, State.UNKNOWN, f"not known whether it is back ({why})")
        other = as_before(context, [c for c in turn.changes if c.host in ended], turn.before)
        for name, (state, detail) in ended.items():
            turn.state(name, *_seen(state, detail, other.get(name, "")))
        context.step(change, "revert", "end", waiting, bad=left | other)


def _until_back(turn: Turn, failures: dict[str, str], ended: dict[str, tuple[State, str]]) -> None:
    """Ask the guards to put everything back, again and again until each host has; keep why one has not."""
    context = turn.context
    end = max(turn.armed, time.monotonic()) + context.ways.confirm_timeout + SLACK
    told = Waiting(context.say)
    while True:
        waiting = [name for name, why in failures.items() if why]
        for name, reply in context.ask(waiting, "revert", turn.job.guard).items():
            failures[name] = _reverted(turn, name, reply, ended)
        waiting = [name for name, why in failures.items() if why]
        if not waiting or time.monotonic() > end:
            return
        told(f"waiting for the guard of {', '.join(waiting)}: {failures[waiting[0]]}")
        time.sleep(PAUSE)


def _reverted(turn: Turn, name: str, reply: Reply, ended: dict[str, tuple[State, str]]) -> str:
    """Take note of a reply to ``revert``; return why it has to be asked again, empty where it need not."""
    if reply.failure:
        return reply.failure
    if reply.guard is Guard.KEPT:
        turn.state(name, State.CONFIRMED, "its guard says that it was confirmed")
        return ""
    if reply.guard in (Guard.ARMED, Guard.REVERTED):
        return reply.said or f"the guard ended with exit code {reply.code}"
    happened = {"applied", "reverted"} & set(reply.events)
    state = State.REVERTED if happened else State.UNTOUCHED
    ended[name] = state, "" if reply.reason in ("", ASKED) else f"it went back: {reply.reason}"
    return ""


def _seen(state: State, detail: str, other: str) -> tuple[State, str]:
    """Return what a host is, where ``other`` is what was seen not to be as before."""
    if not other:
        return state, detail
    if state is State.UNTOUCHED:
        return state, f"nothing was changed here, and yet it is NOT as before: {other}"
    return State.SETTLING, "; ".join(text for text in (detail, NOT_YET + other) if text)


def take_back(
    context: Context,
    change: str,
    guard: str,
    changes: Sequence[PlannedChange],
    before: Mapping[str, Collected | Unreachable],
) -> dict[str, tuple[State, str]]:
    """Undo a confirmed change by the guard's own program: half of it is worse than nothing. A failure is a state."""
    why = "put back, because the change did not succeed on all hosts"
    names = [one.host for one in changes]
    context.say(f"putting back what was confirmed before: {', '.join(names)}")
    with context.mending():
        context.step(change, "undo", "begin", names)
        left = _undone(context, guard, names)
        other = as_before(context, [one for one in changes if one.host not in left], before)
        found: dict[str, tuple[State, str]] = {}
        for name in names:
            if name in left:
                said = f"could not be put back ({left[name]}); use `hostaudit rollback {change}`"
                found[name] = (State.CONFIRMED, said)
            else:
                found[name] = _seen(State.REVERTED, why, other.get(name, ""))
            state, detail = found[name]
            context.record(Kind.STEP, change, name, step="state", phase="end", state=str(state), detail=detail)
            context.say(f"{name}: {state}: {detail}")
        context.step(change, "undo", "end", names, bad=left | other)
    return found


def _undone(context: Context, guard: str, names: Sequence[str]) -> dict[str, str]:
    """Have the guards undo a confirmed change; return the hosts that did not, with the reason."""
    left = dict.fromkeys(names, "not asked")
    for turn in range(TRIES):
        if turn:
            context.say(f"asking {', '.join(left)} again: {next(iter(left.values()))}")
            time.sleep(PAUSE)
        for name, reply in context.ask(list(left), "undo", guard).items():
            if reply.code == 0 or (reply.guard is Guard.NONE and "undone" in reply.events):
                del left[name]
            else:
                left[name] = reply.failure or reply.said or f"the guard ended with exit code {reply.code}"
        if not left:
            break
    return left
