"""The size of the connection tracking table, and who decides it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Conntrack, Platform

ENTRY = 320
"""Bytes of memory per entry: a slab object of 256 and its extensions."""

KUBE_PROXY_CAP = 1048576
"""kube-proxy 1.36 and later never asks for more by itself."""


def idle(table: Conntrack) -> str:
    """Return why nothing is tracked here; empty where something is.

    The kernel registers its hooks in a namespace when a rule first needs them: an empty table whose statistics never
    moved is not a healthy one but none.
    """
    if not table.loaded:
        return "connection tracking is not loaded"
    if table.count == 0 and not any(table.stats.values()):
        return "nothing is tracked here: no rule needs connection tracking"
    return ""


def usage(table: Conntrack) -> float | None:
    """Return the share of the table in use, 0 to 1; ``None`` where it cannot be told."""
    if table.count is None or table.max is None:
        return None
    return table.count / table.max if table.max else 0.0


def bigger(maximum: int) -> int:
    """Return twice the size, as a multiple of 8192: what pve-firewall would round it to."""
    return -(-maximum * 2 // owners.PVE_STEP) * owners.PVE_STEP


def settable(view: View) -> bool:
    """Say whether a limit of the whole kernel can be set on this host: not from inside a container."""
    table, platform = view.snapshot.conntrack, view.snapshot.platform
    if table is not None and table.max_writable:
        return True
    return bool(view.netns) and platform is not None and bool(platform.first_netns)


def remedy(view: View, size: int) -> Remedy | None:
    """Return the change at the owner that makes the table ``size`` entries large; ``None`` where no role can."""
    writer = owners.writer(view.snapshot.platform, owners.CONNTRACK_MAX)
    pve = owners.firewall(view.snapshot.platform)
    if not settable(view) or (writer and writer.name == "kube-proxy"):
        return None
    if pve:
        size = max(size, owners.PVE_FLOOR)
        return Remedy("pve_firewall", {"pve_firewall_options": {"nf_conntrack_max": size}})
    return Remedy("conntrack_table", {"conntrack_table_max": size, "conntrack_table_hashsize": size // 4})


def hash_remedy(view: View) -> Remedy | None:
    """Return the change that makes the hash a quarter of the limit, which stays; ``None`` where the limit is owned.

    The role sets both: the kernel takes a limit of its own with a new hash when the module is loaded.
    """
    table = view.snapshot.conntrack
    if table is None or not table.max or not settable(view) or owner(view):
        return None
    return Remedy("conntrack_table", {"conntrack_table_max": table.max, "conntrack_table_hashsize": table.max // 4})


def owner(view: View) -> str:
    """Return what writes ``nf_conntrack_max`` on this host again."""
    writer = owners.writer(view.snapshot.platform, owners.CONNTRACK_MAX)
    return writer.name if writer else owners.firewall(view.snapshot.platform)


def how(view: View, size: int) -> str:
    """Return in words where the table is made ``size`` entries large on this host."""
    platform = view.snapshot.platform
    if not settable(view):
        return (
            f"The limit belongs to the kernel's first namespace: set net.netfilter.nf_conntrack_max={size} on the "
            "machine that runs this container; in here the file is read-only."
        )
    name = owner(view)
    if name in {"pve-firewall", "proxmox-firewall"} and platform and platform.proxmox:
        size = max(size, owners.PVE_FLOOR)
        hashing = "it sets the hash to a quarter of that" if name == "pve-firewall" else "the hash stays as it is"
        return (
            f"Set `nf_conntrack_max: {size}` in [OPTIONS] of {owners.host_fw(platform.proxmox)}: {name} reads it "
            f"there within 10 s, and {hashing}. A line in sysctl.d would lose."
        )
    if name == "kube-proxy":
        return f"kube-proxy owns the limit. {kube_proxy(size)}"
    return f"Set net.netfilter.nf_conntrack_max={size} in /etc/sysctl.d, and the hash to {size // 4} with it."


def kube_proxy(size: int) -> str:
    """Return the exact text of kube-proxy's configuration that gives ``size`` entries on any number of CPUs."""
    return (
        f"In its ConfigMap write `conntrack: {{maxPerCore: 1, min: {size}}}` and restart it node by node; "
        "`maxPerCore: 0` makes it leave the limit to sysctl.d."
    )


def kube_proxy_default(platform: Platform) -> int:
    """Return what kube-proxy sets by its defaults: 32768 per CPU, 131072 at least; capped since 1.36."""
    size = max(32768 * platform.cpus, 131072)
    found = owners.present(platform, "kube-proxy")
    parts = (found.version if found else "").lstrip("v").split(".")
    known = len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit()
    capped = known and (int(parts[0]), int(parts[1])) >= (1, 36)
    return min(size, KUBE_PROXY_CAP) if capped else size


def cost(table: Conntrack, size: int) -> str:
    """Return what a table of ``size`` entries costs when it is full, in words."""
    now = (table.max or 0) * ENTRY // 2**20
    return f"Full, a table of {size} entries takes about {size * ENTRY // 2**20} MiB; one of today's size {now} MiB."


def contents(table: Conntrack) -> dict[str, Any]:
    """Return what fills the table, as evidence."""
    facts: dict[str, Any] = {"count": table.count, "max": table.max, "buckets": table.buckets}
    if table.census:
        facts["tcp_states"] = dict(sorted(table.census.tcp.items(), key=lambda item: -item[1]))
        facts["protocols"] = table.census.protocols
        facts["unreplied"] = table.census.unreplied
        facts["sources"] = table.census.sources
        facts["targets"] = table.census.targets
    return facts
