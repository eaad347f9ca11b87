"""What became of changes: the values that the reports of apply and rollback are made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostaudit.apply.resume import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA = "hostaudit.changes/1"
OPEN = 8
UNREACHED = 4
INTERRUPTED = 99
CLOSED_WINDOW = 75
WITH_BATCH = "put back with its batch, because of "
"""With this begins why a host went back that was good itself."""


@dataclass(slots=True)
class HostOutcome:
    """What a change did to one host."""

    host: str
    state: State = State.UNTOUCHED
    detail: str = ""
    """Why, in a sentence; empty where everything went as planned."""
    checks: dict[str, str] = field(default_factory=dict)
    """Check -> ``closed``, ``unproved``, ``still a risk``, ``still active``."""
    changed: list[str] = field(default_factory=list)
    """What Ansible changed there, a line each."""
    knobs: dict[str, list[str | None]] = field(default_factory=dict)
    """Knob -> before, as planned, as read back."""
    taken_back: str = ""
    """Who wrote it again, where somebody did."""


@dataclass(slots=True)
class ChangeOutcome:
    """One change: one role on its hosts."""

    id: str
    role: str
    hosts: dict[str, HostOutcome]
    outcome: str = "done"
    """``done``, ``failed``, ``interrupted``, ``window`` (it closed before all hosts had their turn), ``unfinished``
    (a host could not be asked how it ended), ``checked``."""
    reason: str = ""
    left: list[str] = field(default_factory=list)
    """Hosts that had no turn because the window closed; ``apply --resume`` goes on with them in the next one."""


@dataclass(slots=True)
class Outcome:
    """Everything that one command did."""

    kind: str
    """``apply``, ``check``, ``resume`` or ``rollback``."""
    plan: str = ""
    changes: list[ChangeOutcome] = field(default_factory=list)
    schema: str = SCHEMA

    @property
    def exit_code(self) -> int:
        """0: everything was done and stayed; else the bits of DESIGN: 4 a host is not known, 8 something is left."""
        if any(change.outcome == "interrupted" for change in self.changes):
            return INTERRUPTED
        if any(change.outcome == "window" for change in self.changes):
            return CLOSED_WINDOW
        hosts = [host for change in self.changes for host in change.hosts.values()]
        code = UNREACHED if any(h.state is State.UNKNOWN for h in hosts) else 0
        left = any(change.outcome not in ("done", "checked") for change in self.changes)
        left |= any(h.taken_back or {"still active", "still a risk"} & set(h.checks.values()) for h in hosts)
        return code | (OPEN if left else 0)


def why(outcomes: Mapping[str, HostOutcome]) -> str:
    """Return why a batch went wrong: the hosts with the same reason together, those that only went along last."""
    reasons: dict[str, list[str]] = {}
    for name, host in outcomes.items():
        if host.detail:
            reasons.setdefault(host.detail, []).append(name)
    order = sorted(reasons.items(), key=lambda one: one[0].startswith(WITH_BATCH))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in order)


def confirmed(hosts: Iterable[HostOutcome]) -> list[str]:
    """Return the names of those that are changed."""
    return [h.host for h in hosts if h.state is State.CONFIRMED]
