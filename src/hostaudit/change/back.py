"""Puts back what was not confirmed; where a host cannot be reached, waits until its own guard has done it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit.apply import readback
from hostaudit.apply.resume import Guard, State
from hostaudit.journal import Kind
from hostaudit.model import Collected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.apply.guard import Reply
    from hostaudit.change.context import Context
    from hostaudit.change.turn import Turn

SLACK = 60
"""Seconds, after the time for the confirmation is over, in which a host must be as before. systemd tries each 15 s."""
PAUSE = 2.0
"""Seconds between two questions."""


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
        try:
            _until_back(turn, failures)
        except KeyboardInterrupt:
            context.say("interrupted again: what is not back yet is left to the guards on the hosts")
        left = {name: why for name, why in failures.items() if why}
        for name, why in left.items():
            turn.state(name, State.UNKNOWN, f"not known whether it is back ({why})")
        seen_back(turn)
        context.step(change, "revert", "end", waiting, bad=left)


def _until_back(turn: Turn, failures: dict[str, str]) -> None:
    """Ask the guards to put everything back, again and again until each host has; keep why one has not."""
    context = turn.context
    end = max(turn.armed, time.monotonic()) + context.ways.confirm_timeout + SLACK
    while True:
        waiting = [name for name, why in failures.items() if why]
        for name, reply in context.ask(waiting, "revert", turn.job.guard).items():
            failures[name] = _reverted(turn, name, reply)
        waiting = [name for name, why in failures.items() if why]
        if not waiting or time.monotonic() > end:
            return
        context.say(f"waiting for the guard of {', '.join(waiting)}: {failures[waiting[0]]}")
        time.sleep(PAUSE)


def _reverted(turn: Turn, name: str, reply: Reply) -> str:
    """Take note of a reply to ``revert``; return why it has to be asked again, empty where it need not."""
    if reply.failure:
        return reply.failure
    if reply.guard is Guard.KEPT:
        turn.state(name, State.CONFIRMED, "its guard says that it was confirmed")
        return ""
    if reply.guard in (Guard.ARMED, Guard.REVERTED):
        return reply.said or f"the guard ended with exit code {reply.code}"
    happened = {"applied", "reverted"} & set(reply.events)
    turn.state(name, State.REVERTED if happened else State.UNTOUCHED, reply.reason and f"it went back: {reply.reason}")
    return ""


def seen_back(turn: Turn) -> None:
    """Read the hosts that went back, and say what is not as it was."""
    names = [n for n in turn.names if turn.outcomes[n].state in (State.REVERTED, State.UNTOUCHED)]
    answers = turn.context.read(names, 0) if names else {}
    for change in turn.changes:
        was, now = turn.before.get(change.host), answers.get(change.host)
        if isinstance(was, Collected) and isinstance(now, Collected):
            then = {n: k.running for n, k in readback.knobs(was.snapshot, change).items()}
            seen = {n: k.running for n, k in readback.knobs(now.snapshot, change).items()}
            other = [f"{n} was {v} and is {seen.get(n)}" for n, v in then.items() if seen.get(n) != v]
            if other:
                turn.outcomes[change.host].detail += f"; NOT as before: {', '.join(other)}"


def take_back(context: Context, change: str, guard: str, names: Sequence[str]) -> dict[str, tuple[State, str]]:
    """Undo a confirmed change by the guard's own program: half of it is worse than nothing. A failure is a state."""
    why = "put back, because the change did not succeed on all hosts"
    context.say(f"putting back what was changed before: {', '.join(names)}")
    found: dict[str, tuple[State, str]] = {}
    with context.mending():
        context.step(change, "undo", "begin", names)
        for name, reply in context.ask(names, "undo", guard).items():
            if reply.code == 0 or (reply.guard is Guard.NONE and "undone" in reply.events):
                found[name] = (State.REVERTED, why)
            else:
                said = reply.failure or reply.said
                found[name] = (State.CONFIRMED, f"could not be put back ({said}); use `hostaudit rollback {change}`")
            state, detail = found[name]
            context.record(Kind.STEP, change, name, step="state", phase="end", state=str(state), detail=detail)
            context.say(f"{name}: {state}: {detail}")
        context.step(change, "undo", "end", names)
    return found
