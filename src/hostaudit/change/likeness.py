"""Is a host as it was before a change? What the guard put back shows later where a daemon has to take it first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit.apply import readback
from hostaudit.change.job import PATIENCE, settle
from hostaudit.change.waiting import Waiting
from hostaudit.facts import digest, fact, said
from hostaudit.model import Collected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.change.context import Context
    from hostaudit.model import PlannedChange, Unreachable
    from hostaudit_agent.snapshot import Snapshot

RULES = "firewall."
"""Facts about rules: a change of host.fw is seen in the packet filter, not in a value."""
PAUSE = 1.0
"""Seconds between two looks."""


def as_before(
    context: Context,
    changes: Sequence[PlannedChange],
    before: Mapping[str, Collected | Unreachable],
    *,
    planned: bool = True,
) -> dict[str, str]:
    """Read the hosts until all are as before, at most for the period of the knobs' owner; return what is not yet so.

    ``before`` are the readings from before the change. A host without one is compared with its plan; ``planned`` says
    that the plan's facts and files are those from before, which they are not for an undo. Ctrl-C ends the wait, not
    the program.
    """
    if not changes:
        return {}
    left = dict.fromkeys((change.host for change in changes), "it was not read again")
    end = time.monotonic() + max(settle(change) for change in changes) + PATIENCE
    waiting = Waiting(context.say)
    try:
        while left:
            answers = context.read(left, 0)
            left = {}
            for change in (c for c in changes if c.host in answers):
                found = _other(change, answers[change.host], before.get(change.host), planned=planned)
                if found:
                    left[change.host] = "; ".join(found)
            if not left or time.monotonic() > end:
                break
            name = min(left)
            waiting(
                f"waiting until {', '.join(sorted(left))} {'is' if len(left) == 1 else 'are'} as before: {left[name]}"
            )
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        context.say("interrupted: not waiting until everything is as before")
    return left


def _other(
    change: PlannedChange, now: Collected | Unreachable, was: Collected | Unreachable | None, *, planned: bool
) -> list[str]:
    if not isinstance(now, Collected):
        return [f"it could not be read again: {now.reason}"]
    return unlike(change, now.snapshot, was.snapshot if isinstance(was, Collected) else None, planned=planned)


def unlike(change: PlannedChange, now: Snapshot, was: Snapshot | None, *, planned: bool = True) -> list[str]:
    """Return a phrase for each knob, and each fact about rules, that is not as before; empty when all are."""
    then = readback.knobs(was, change) if was else {knob.knob: knob for knob in change.knobs}
    seen = readback.knobs(now, change)
    phrases = []
    for name, knob in then.items():
        mine = seen.get(name)
        if mine is None or mine.running != knob.running:
            phrases.append(f"{name} was {said(knob.running)} and is {said(mine.running if mine else None)}")
        elif (was or planned) and mine.configured != knob.configured:
            phrases.append(f"{name} was configured as {said(knob.configured)} and is {said(mine.configured)}")
    for path in sorted(p for p in change.facts if p.startswith(RULES)):
        value = fact(now, path)
        if was:
            other, before = value != fact(was, path), fact(was, path)
        else:
            other, before = planned and digest(value) != change.facts[path], change.values.get(path)
        if other:
            phrases.append(f"{path} was {said(before)} and is {said(value)}")
    return phrases
