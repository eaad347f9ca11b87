"""What the journal says about a change: what was planned, how far it came, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.apply.resume import Progress, State, progress_of
from hostaudit.errors import UsageError
from hostaudit.journal import Kind
from hostaudit.model import PlannedChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.journal import Entry, Journal


@dataclass(frozen=True, slots=True)
class Past:
    """One change of the journal."""

    id: str
    guard: str
    action: str
    """``apply`` or ``rollback``."""
    role: str
    changes: tuple[PlannedChange, ...]
    hosts: tuple[str, ...]
    progress: dict[str, Progress]
    ended: bool
    of: str
    """Of a rollback: the change that it puts back."""
    plan: str = ""
    inventory: tuple[str, ...] = ()
    left: tuple[PlannedChange, ...] = ()
    """What of the plan had no turn because the window closed."""

    def in_state(self, state: State) -> list[str]:
        """Return the hosts that were last recorded in this state."""
        return [name for name, one in self.progress.items() if one.ended == state]


def change(journal: Journal, name: str) -> Past:
    """Return a change by its id, or an unambiguous beginning of it. Raises UsageError."""
    known = [e for e in journal.entries(kinds=[Kind.CHANGE_BEGIN]) if e.change.startswith(name) and name]
    exact = [e for e in known if e.change == name] or known
    if not exact:
        raise UsageError(f"{journal.where} has no change {name!r}; `hostaudit log --kind change-begin` lists them")
    if len({e.change for e in exact}) > 1:
        raise UsageError(f"several changes begin with {name}: {exact[0].change}, {exact[1].change}, ...")
    return _of(exact[-1], list(journal.entries(change=exact[-1].change)))


def unfinished(journal: Journal) -> list[Past]:
    """Return the changes that began and of which no end is recorded, oldest first."""
    begun = {e.change: e for e in journal.entries(kinds=[Kind.CHANGE_BEGIN])}
    for entry in journal.entries(kinds=[Kind.CHANGE_END]):
        begun.pop(entry.change, None)
    return [_of(e, list(journal.entries(change=e.change))) for e in begun.values()]


def waiting(journal: Journal) -> list[Past]:
    """Return the changes whose window closed before all hosts had their turn, oldest first.

    One that was gone on with, or whose hosts were changed otherwise since, is not among them.
    """
    found: dict[str, tuple[Entry, set[str]]] = {}
    begun: dict[str, Entry] = {}
    for entry in journal.entries(kinds=[Kind.CHANGE_BEGIN, Kind.CHANGE_END]):
        payload: Any = entry.payload
        if entry.kind == Kind.CHANGE_BEGIN:
            begun[entry.change] = entry
            since = {str(name) for name in payload.get("hosts", [])}
            gone = {name for name, (_, hosts) in found.items() if hosts & since or payload.get("continues") == name}
            found = {name: one for name, one in found.items() if name not in gone}
        elif payload.get("left") and entry.change in begun:
            found[entry.change] = (begun[entry.change], {str(one.get("host")) for one in payload["left"]})
    return [_of(entry, list(journal.entries(change=entry.change))) for entry, _ in found.values()]


def _of(begun: Entry, entries: Iterable[Entry]) -> Past:
    payload: Any = begun.payload
    mine = [e for e in entries if e.sequence >= begun.sequence]
    ends: list[Any] = [e.payload for e in mine if e.kind == Kind.CHANGE_END]
    steps = [(e.host, e.payload) for e in mine if e.kind == Kind.STEP]
    return Past(
        begun.change,
        str(payload.get("guard", begun.change)),
        str(payload.get("action", "apply")),
        str(payload.get("role", "")),
        msgspec.convert(payload.get("changes", []), tuple[PlannedChange, ...]),
        tuple(str(h) for h in payload.get("hosts", [])),
        progress_of(steps),
        bool(ends),
        str(payload.get("of", "")),
        str(payload.get("plan", "")),
        tuple(str(source) for source in payload.get("inventory", [])),
        msgspec.convert(ends[-1].get("left", []) if ends else [], tuple[PlannedChange, ...]),
    )
