"""Planned changes for the tests of apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.knobs import ALLOW_INVALID
from hostaudit.model import KnobChange, PlannedChange

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "net.core.somaxconn"


def change(host: str, role: str = "tcp_backlog", cohort: str = "web", **given: Any) -> PlannedChange:
    fields: dict[str, Any] = {
        "id": f"{host}/{role}", "host": host, "cohort": cohort, "checks": (), "owner": "", "role": role,
        "vars": {"tcp_backlog_somaxconn": 5000},
        "knobs": (KnobChange(ALLOW_INVALID if role == "pve_firewall" else KEY, "4096", None, "5000"),), "seconds": 20,
        "undo_seconds": 10, "risk": "", "proof": "", "facts": {},
    }  # fmt: skip
    return PlannedChange(**{**fields, **given})


@pytest.fixture
def planned() -> Callable[..., PlannedChange]:
    """Return what makes a planned change of a host."""
    return change
