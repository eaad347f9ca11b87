"""What the batches of one change have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.plan import COMPILE, SETTLE
from hostaudit.writers import longest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hostaudit.model import PlannedChange

PATIENCE = 5.0
"""Seconds in which a host may be out of reach after a change: links flap when their MTU is set."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the batches of one change have in common."""

    change: str
    """Id in the journal."""
    guard: str
    """Name of the guard on the hosts."""
    playbook: str
    variables: Callable[[Sequence[PlannedChange]], dict[str, str]]
    """Extra variables for changes that are alike, each a text of YAML."""
    judged: bool = True
    """An undo is not judged: what it brings back was bad before, and files are the guard's, which compares bytes."""


def settle(change: PlannedChange) -> int:
    """Return how many seconds it may take until the change holds: its owner has to take it first."""
    period = longest(change.owner)
    return SETTLE.get(change.role, 0) + (period + COMPILE if period else 0)


def hosts_of(changes: Iterable[PlannedChange]) -> list[str]:
    """Return the hosts' names, each once, in order."""
    return list(dict.fromkeys(change.host for change in changes))
