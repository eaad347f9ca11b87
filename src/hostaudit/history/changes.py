"""What the journal says that hostaudit changed, host by host and setting by setting."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from hostaudit.drift.made import Made
from hostaudit.journal import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from hostaudit.journal import Entry, Journal

CONFIRMED = "confirmed"


def made(journal: Journal, since: datetime) -> dict[str, list[Made]]:
    """Return host -> the settings of its confirmed changes, oldest first; changes that were put back are not."""
    begun: dict[str, Entry] = {}
    found: dict[str, list[Made]] = {}
    for entry in journal.entries(kinds=[Kind.CHANGE_BEGIN, Kind.CHANGE_END], since=since):
        if entry.kind == Kind.CHANGE_BEGIN:
            begun[entry.change] = entry
        elif entry.change in begun:
            payload: Any = entry.payload
            states = {host: str(one.get("state", "")) for host, one in payload.get("hosts", {}).items()}
            for one in _of(begun.pop(entry.change), states, entry.time):
                found.setdefault(one.host, []).append(one)
    for entry in begun.values():  # a controller that was killed: what it wrote down of each host counts
        steps = [e for e in journal.entries(change=entry.change, kinds=[Kind.STEP]) if e.payload.get("step") == "state"]
        states = {e.host: str(e.payload.get("state", "")) for e in steps}
        for one in _of(entry, states, steps[-1].time if steps else entry.time):
            found.setdefault(one.host, []).append(one)
    return found


def _of(begun: Entry, states: dict[str, str], ended: datetime) -> Iterator[Made]:
    payload: Any = begun.payload
    why = ", ".join(part for part in (begun.reason, begun.ticket) if part)
    for change in payload.get("changes", []):
        host = str(change.get("host", ""))
        if states.get(host) != CONFIRMED:
            continue
        for knob in change.get("knobs", []):
            yield Made(
                begun.change,
                str(payload.get("action", "apply")),
                _told(begun.time),
                _told(ended),
                host,
                str(knob.get("knob", "")),
                str(knob.get("then", "")),
                f"{begun.actor.user}@{begun.actor.machine}",
                why,
            )


def _told(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
