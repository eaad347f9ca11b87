"""What becomes of a host whose controller died in the middle of a change: confirm, put back, or nothing. Pure.

Two witnesses are asked: the journal, which is written before and after every step, and the guard on the host. The
guard knows what the host is; the journal knows whether the change was found good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Guard(StrEnum):
    """The guard of one change on one host."""

    ARMED = "armed"
    REVERTED = "reverted"
    """The host put everything back by itself; nobody has asked yet."""
    KEPT = "kept"
    """Confirmed, and what was there before is kept for an undo."""
    NONE = "none"
    """Never armed, or ended: put back when asked to, undone, or confirmed without a difference."""


class Action(StrEnum):
    """What to do with a host."""

    NOTHING = "nothing"
    CONFIRM = "confirm"
    REVERT = "revert"
    ACKNOWLEDGE = "acknowledge"
    """It went back by itself: verify that it is as before, and remove what the guard kept."""


class State(StrEnum):
    """How a host ended."""

    CONFIRMED = "confirmed"
    REVERTED = "as before"
    SETTLING = "put back"
    """Its guard put everything back; but what runs there was not seen to be as before yet."""
    UNTOUCHED = "not touched"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change came on one host, as the journal tells it."""

    begun: bool = False
    """The step that arms the guard and runs the role had begun."""
    verified: bool = False
    """Read back, probed and judged good."""
    ended: str = ""
    """The state that was recorded, where it was."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and what the host is when that is done."""

    action: Action
    state: State


def decide(progress: Progress, guard: Guard, events: Iterable[str] = ()) -> Decision:
    """Return what becomes of a host; ``events`` are those of the host's own log about this change, oldest first.

    A guard that is armed is confirmed only if the journal says that the change was found good; it may have been
    written by a controller that died before it could confirm.
    """
    last = next((e for e in reversed(list(events)) if e in {"confirmed", "reverted", "undone"}), "")
    if guard is Guard.ARMED:
        if progress.verified:
            return Decision(Action.CONFIRM, State.CONFIRMED)
        return Decision(Action.REVERT, State.REVERTED)
    if guard is Guard.REVERTED:
        return Decision(Action.ACKNOWLEDGE, State.REVERTED)
    if guard is Guard.KEPT:
        return Decision(Action.NOTHING, State.CONFIRMED)
    if last == "confirmed":  # and kept no longer
        return Decision(Action.NOTHING, State.CONFIRMED)
    if last or progress.begun:
        return Decision(Action.NOTHING, State.REVERTED)
    return Decision(Action.NOTHING, State.UNTOUCHED)


def progress_of(payloads: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Progress]:
    """Return how far each host came; ``payloads`` are (host, payload) of the change's steps, oldest first."""
    found: dict[str, Progress] = {}
    for host, payload in payloads:
        step, phase = payload.get("step"), payload.get("phase")
        names = [host] if host else [str(h) for h in payload.get("hosts", [])]
        for name in names:
            was = found.get(name, Progress())
            if step == "run" and phase == "begin":
                was = Progress(begun=True)
            elif step == "verify" and phase == "end" and payload.get("ok"):
                was = Progress(was.begun, verified=True, ended=was.ended)
            elif step == "revert" and phase == "begin":
                was = Progress(was.begun, verified=False, ended=was.ended)
            elif step == "state":
                was = Progress(was.begun, was.verified, str(payload.get("state", "")))
            found[name] = was
    return found
