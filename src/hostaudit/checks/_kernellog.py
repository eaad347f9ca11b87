"""What the kernel logged that belongs to a finding. Pure.

Its lines corroborate; they decide no grade where a counter can, because the kernel limits their rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import KernelEvent, KernelLog

MOST = 4


def of(log: KernelLog | None, *kinds: str) -> list[KernelEvent]:
    """Return the events of these kinds."""
    return [event for event in log.events if event.kind in kinds] if log else []


def evidence(view: View, *kinds: str) -> dict[str, Any]:
    """Return ``{"kernel_log": [...]}`` for the evidence of a finding; empty where nothing of the kind was logged."""
    found = of(view.snapshot.kmsg, *kinds)
    rows = [
        {
            "kind": event.kind,
            "subject": event.subject,
            "lines": event.count,
            "last_seconds_ago": round(max(0.0, view.snapshot.taken - event.last)),
            "line": event.example,
        }
        for event in sorted(found, key=lambda event: -event.last)[:MOST]
    ]
    return {"kernel_log": rows} if rows else {}
