"""Cilium's connection tracking maps have room.

What it reads
    The BPF maps ``cilium_ct4_global``, ``cilium_ct_any4_global`` and those of IPv6: entries, counted, and what they
    were made for.

Why it matters
    Cilium tracks connections in these maps, not in the kernel's table. They are LRU: none refuses an entry, the one
    that was not used for longest goes, and no counter of the host moves. A connection that is idle for a minute loses
    its entry, and its next packet is taken for a new one: long downloads, database pools and websockets break on the
    nodes that have most traffic, and on no other.

Active when
    A map is full (``full_share``; or less than 128 entries for each CPU are left, which the kernel keeps back for that
    CPU), so that it evicts with every new connection. It is a risk from ``risk_share`` on, high from ``high_share``
    on. With ``bpf-distributed-lru`` each CPU has a list of its own and evicts when that is full, which this does not
    see: the evidence says so.

How it is remedied
    In cilium-config, one node at a time: ``bpf-ct-global-tcp-max`` and ``bpf-ct-global-any-max`` (Helm:
    ``bpf.ctTcpMax``, ``bpf.ctAnyMax``), or ``bpf-map-dynamic-size-ratio``.

Fix safety
    A map of another size is made anew when the agent starts: the node's connections lose their entries. Drain it
    first. Never flush the maps of a node that carries traffic.

References
    https://docs.cilium.io/en/stable/network/ebpf/maps/
    https://docs.kernel.org/bpf/map_hash.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _cilium, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(
    reads=("bpf",),
    severity=Severity.MEDIUM,
    thresholds={"risk_share": 0.7, "high_share": 0.9, "full_share": 0.99},
)
def evaluate(view: View) -> Finding:
    """Judge the fullest of the maps."""
    bpf = _cilium.here(view)
    if bpf is None:
        return not_applicable(_cilium.HERE)
    found = _cilium.fills(view, _cilium.CT, view.threshold("high_share"), view.threshold("full_share"))
    worst = found[0] if found else None
    if worst is None or worst.share < view.threshold("risk_share"):
        if why := _cilium.uncounted(view, _cilium.CT):
            return unknown(why)
        if worst is None:
            return not_applicable("Cilium tracks no connections here: it has no such map")
        return passed(f"{worst.table.name} is {worst.share:.0%} full", maps=_cilium.shown(found))
    table = worst.table
    summary = f"{table.name}: {table.used} of {table.max} ({worst.share:.0%})"
    high = worst.evicting or worst.share >= view.threshold("high_share")
    option = "bpf-ct-global-any-max" if "any" in table.name else "bpf-ct-global-tcp-max"
    return view.fail(
        Grade.ACTIVE if worst.evicting else Grade.RISK,
        f"{summary}: evicting" if worst.evicting else summary,
        severity=Severity.HIGH if high else None,
        evidence={"maps": _cilium.shown(found), "where": bpf.where},
        reproduce=_cilium.counting(view, table),
        disproof="The number of entries stays well below the limit at the busiest hour.",
        owner="cilium",
        advice=(
            f"Raise {option} in cilium-config to {2 * table.max} (or bpf-map-dynamic-size-ratio), and restart the "
            "agents one node at a time: the map is made anew, and its connections are lost. See first who fills it."
        ),
        cause=f"{table.name} is full" if high else f"{table.name} fills up",
    )
