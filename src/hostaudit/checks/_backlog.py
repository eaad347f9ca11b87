"""Queues of listening sockets: how fast they overflow. Pure.

The thresholds are netdata's (tcp_listen.conf): more than one per second is a warning, more than five critical.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _say, _sockets, passed, unknown
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.checks import View
    from hostaudit.model import Finding

THRESHOLDS = {"active_per_second": 1, "high_per_second": 5}
SOMAXCONN, SYN_BACKLOG = "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"
ENOUGH = 4096
"""The kernel's own default since 5.4, and what busy servers are told to set."""


def rates(view: View, names: Sequence[str]) -> dict[str, float] | Finding:
    """Return the events per second of each counter, or the finding where there is nothing to judge."""
    counters = view.snapshot.counters
    assert counters is not None  # noqa: S101 - the checks that call this declare that they read it
    totals = {name: counters.totals[name] for name in names if name in counters.totals}
    if counters.delta is None or view.snapshot.interval <= 0:
        if any(totals.values()):
            return unknown("one sample only: totals since boot do not tell what happens now")
        return passed("no queue ever overflowed", totals=totals)
    found = {name: counters.delta.get(name, 0) / view.snapshot.interval for name in totals}
    if not any(found.values()):
        return passed(f"no queue overflowed in {_say.window(view)}", totals=totals)
    return found


def evidence(view: View, found: dict[str, float]) -> dict[str, Any]:
    """Return what both checks show."""
    counters, sysctl = view.snapshot.counters, view.snapshot.sysctl
    return {
        "per_second": {name: round(rate, 2) for name, rate in found.items()},
        "totals": {name: counters.totals[name] for name in found} if counters else {},
        "seconds": view.snapshot.interval,
        SOMAXCONN: _say.number(sysctl, SOMAXCONN),
        SYN_BACKLOG: _say.number(sysctl, SYN_BACKLOG),
        "listeners": _sockets.listeners(view),
        "sources": _sockets.sources(view),
    }


def remedy(view: View, *keys: str) -> Remedy | None:
    """Return the limits that are below what is enough; ``None`` where they are not what is too small."""
    small = [key for key in keys if (_say.number(view.snapshot.sysctl, key) or ENOUGH) < ENOUGH]
    values = {f"tcp_backlog_{key.rpartition('.')[2].removeprefix('tcp_')}": ENOUGH for key in small}
    return Remedy("tcp_backlog", values) if values and not view.netns else None
