"""Cilium's tables and drop reasons, as several checks read them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostaudit.checks import _say

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Bpf, BpfMap

HERE = "there is no Cilium here"
CT, NAT, ENDPOINTS = ("cilium_ct",), ("cilium_snat",), ("cilium_policy",)
INSERT_FAILED, NO_MAPPING = "155", "167"
POLICY = frozenset({"133", "159", "162", "181"})
REASONS = {
    "132": "invalid source IP",
    "133": "policy denied",
    "136": "fragmentation needed",
    INSERT_FAILED: "map insertion failed",
    "157": "fragments not supported",
    "158": "service backend not found",
    "160": "no tunnel endpoint",
    "163": "unknown connection tracking state",
    NO_MAPPING: "no mapping for NAT masquerade",
    "169": "FIB lookup failed",
    "175": "first fragment not found",
    "181": "policy denied by denylist",
    "193": "protocol that DSR cannot carry",
    "195": "unencrypted traffic",
    "196": "TTL exceeded",
}
"""bpf/lib/drop_reasons.h of Cilium; texts shortened from pkg/monitor/api/drop.go."""
FREE_TARGET = 128
"""Entries that each CPU may hold back for itself (kernel/bpf/bpf_lru_list.c, LOCAL_FREE_TARGET)."""


class Fill(NamedTuple):
    """How full a map is."""

    share: float
    evicting: bool
    """There is no free entry left to take: a new connection costs an old one its entry."""
    table: BpfMap


def here(view: View) -> Bpf | None:
    """Return what was read of Cilium; ``None`` where there is none, and in other network namespaces."""
    bpf = view.snapshot.bpf
    return bpf if bpf and bpf.where and not view.netns else None


def name(reason: str) -> str:
    """Return Cilium's words for a reason, with its number."""
    return f"{REASONS[reason]} ({reason})" if reason in REASONS else f"reason {reason}"


def fills(view: View, prefixes: tuple[str, ...], high: float, full: float) -> list[Fill]:
    """Return the maps whose names begin so, fullest first; those that were not counted are left out.

    An LRU map evicts before it is full, because each CPU keeps free entries that no other takes. Below ``high`` that is
    not called full all the same: on small maps and many CPUs the arithmetic says nothing any more.
    """
    bpf, platform = view.snapshot.bpf, view.snapshot.platform
    held_back = FREE_TARGET * (platform.cpus if platform else 1)
    found = []
    for table in bpf.maps if bpf else []:
        if table.used is None or not table.max or not table.name.startswith(prefixes):
            continue
        brim = max(high * table.max, min(full * table.max, table.max - held_back))
        found.append(Fill(table.used / table.max, table.used >= brim, table))
    return sorted(found, key=lambda one: (not one.evicting, -one.share, one.table.name))


def uncounted(view: View, prefixes: tuple[str, ...]) -> str:
    """Return why maps whose names begin so could not be counted; empty where all were."""
    missing = [u for prefix in prefixes for u in view.unread(f"bpf.{prefix}")]
    return f"{missing[0].surface.partition('.')[2]}: {missing[0].reason}" if missing else ""


def shown(found: list[Fill]) -> dict[str, dict[str, object]]:
    """Return the maps for evidence."""
    return {
        one.table.name: {"entries": one.table.used, "max": one.table.max, "per_cpu_lists": one.table.apart}
        for one in found
    }


def counting(view: View, table: BpfMap) -> str:
    """Return the command that shows how full a map is."""
    where = view.snapshot.bpf.where if view.snapshot.bpf else ""
    pin = _say.quote(f"{where}/{table.name}")
    return f"bpftool map show pinned {pin}; bpftool map dump pinned {pin} | grep -c 'key\"*:'"


def dropping() -> str:
    """Return the command that shows the drops by reason, twice."""
    return _say.twice(
        "kubectl -n kube-system exec POD -c cilium-agent -- cilium-dbg bpf metrics list | grep -v Success"
    )
