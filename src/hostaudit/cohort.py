"""Hosts that should be alike, and which value is the norm among them. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from hostaudit.model import Collected

T = TypeVar("T", bound="Hashable")

SMALLEST = 3
"""Two hosts that differ do not say which of them is wrong."""


def cohorts(collected: Sequence[Collected]) -> dict[str, list[Collected]]:
    """Group the hosts that answered by their cohort; names and hosts in order."""
    groups: dict[str, list[Collected]] = {}
    for one in sorted(collected, key=lambda c: c.host.name):
        groups.setdefault(one.host.cohort, []).append(one)
    return dict(sorted(groups.items()))


def norm(values: Mapping[str, T]) -> T | None:
    """Return the value that a clear majority (more than half, of three or more hosts) has, else ``None``."""
    if len(values) < SMALLEST:
        return None
    value, number = Counter(values.values()).most_common(1)[0]
    return value if number * 2 > len(values) else None


def odd(values: Mapping[str, T], share: float) -> tuple[T, list[str]] | None:
    """Return the norm and the few hosts that differ: one, or ``share`` (0 to 1) of the hosts. ``None``: there are none.

    More than a few are no outliers: such hosts are another kind, and the cohort is not one.
    """
    usual = norm(values)
    if usual is None:
        return None
    others = [name for name, value in values.items() if value != usual]
    return (usual, others) if 0 < len(others) <= max(1, int(len(values) * share)) else None
