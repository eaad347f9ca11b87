"""Does a knob have the value that was asked for, as the kernel, or the firewall, has it now? Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.knobs import moves

if TYPE_CHECKING:
    from hostaudit.model import KnobChange, PlannedChange
    from hostaudit_agent.snapshot import Snapshot

HOST_FW = "host.fw "


def knobs(snapshot: Snapshot, change: PlannedChange) -> dict[str, KnobChange]:
    """Return the knobs of a change by name, as they are in this snapshot."""
    return {knob.knob: knob for knob in moves(change.role, change.vars, snapshot).knobs}


def wrong(snapshot: Snapshot, change: PlannedChange) -> list[str]:
    """Return a phrase for each knob that is not as it was asked for; empty when all are.

    What cannot be read back is wrong: a change that nobody can see is not a change that was proved.
    """
    found = knobs(snapshot, change)
    phrases = []
    for wanted in change.knobs:
        name, now = wanted.knob, found.get(wanted.knob)
        seen = now.running if now else None
        if seen is None and now and name.startswith(HOST_FW):
            seen = now.configured  # an option that no key of the kernel shows
        if seen is None:
            phrases.append(f"{name} could not be read back")
        elif _plain(seen) != _plain(wanted.then):
            phrases.append(f"{name} is {seen}, not {wanted.then}")
        elif now and name.startswith(HOST_FW) and now.configured not in (None, wanted.then):
            phrases.append(f"{name} says {now.configured}, not {wanted.then}")
    return phrases


def _plain(value: str) -> str:
    return " ".join(str(value).split())
