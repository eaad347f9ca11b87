"""Which hosts are changed together: one stage per role, canaries first, then ``--serial``. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.errors import UsageError
from hostaudit.halves import TOGETHER, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.model import PlannedChange

DEFAULT = ("1", "10%", "50%")
"""Sizes of the batches where nobody said another."""
_STEP = re.compile(r"(\d{1,5})(%?)")


@dataclass(frozen=True, slots=True)
class Stage:
    """One role on the hosts that need it: one change of the journal, one guard on each host."""

    role: str
    changes: tuple[PlannedChange, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names, in the plan's order."""
        return tuple(change.host for change in self.changes)

    @property
    def whole(self) -> bool:
        """Whether it is to be on all hosts or on none: when a batch fails, those changed before it are put back too.

        With one hypervisor of two that lets INVALID pass, handshakes succeed and their data vanish.
        """
        return whole(self.changes)


def stages(changes: Sequence[PlannedChange]) -> list[Stage]:
    """Return the changes by role, in the plan's order; a second change of a role on a host is a stage of its own."""
    found: dict[tuple[int, str], list[PlannedChange]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for change in changes:
        turn = seen[change.host, change.role]
        seen[change.host, change.role] += 1
        found.setdefault((turn, change.role), []).append(change)
    order = sorted(found, key=lambda key: key[0])  # stable: first turns first, roles in the plan's order
    return [Stage(role, tuple(found[turn, role])) for turn, role in order]


def parse_serial(text: str) -> tuple[str, ...]:
    """Check ``1,10%,50%``, as Ansible's ``serial``. Raises UsageError."""
    steps = tuple(step.strip() for step in text.split(","))
    for step in steps:
        match = _STEP.fullmatch(step)
        if not match or not int(match[1]) or (match[2] and int(match[1]) > 100):
            raise UsageError(f"--serial {text}: {step!r} is neither a number of hosts nor a percentage; try 1,10%,50%")
    return steps


def batches(changes: Sequence[PlannedChange], serial: Sequence[str]) -> list[tuple[PlannedChange, ...]]:
    """Return the batches: one canary per cohort together, then by ``serial``, whose last step repeats.

    A percentage is of all hosts of the stage, rounded down, at least one host. Where ``serial`` begins with a number,
    the canaries are that many batches' worth at least: a canary batch is never split, a cohort never goes without.

    Without ``serial`` it is DEFAULT; but changes of which half is worse than nothing are made at the same time, on a
    larger fleet after the canaries.
    """
    together = not serial and whole(changes)
    if together and len(changes) <= TOGETHER:
        return [tuple(changes)]
    serial = ("1", "100%") if together else serial or DEFAULT
    canaries: dict[str, PlannedChange] = {}
    for change in changes:
        canaries.setdefault(change.cohort, change)
    first = tuple(canaries.values())
    rest = [change for change in changes if change not in first]
    cut = [first] if first else []
    sizes = [size(step, len(changes)) for step in serial]
    if len(sizes) > 1:
        sizes = sizes[1:]  # the first step is the canaries' own
    turn = 0
    while rest:
        many = sizes[min(turn, len(sizes) - 1)]
        cut.append(tuple(rest[:many]))
        rest = rest[many:]
        turn += 1
    return cut


def size(step: str, total: int) -> int:
    """Return how many hosts a step of ``serial`` is."""
    if step.endswith("%"):
        return max(1, total * int(step[:-1]) // 100)
    return int(step)
