"""A Proxmox VE node can be changed: /etc/pve is mounted, and the cluster has quorum.

What it reads
    ``/etc/pve/.version`` (there only while the cluster file system is mounted) and ``cluster.quorate`` of
    ``/etc/pve/.members``. A node without a cluster always has quorum.

Why it matters
    Without quorum /etc/pve is read-only: the firewall goes on with what it has, no option can be changed on any node of
    that part, and guests do not start. Unmounted, it is an empty directory, and what is written there is lost when it
    is mounted again. Neither shows in the network until something else fails.

Active when
    Never: no packet is lost by it at once.

How it is remedied
    By hand: ``systemctl status pve-cluster corosync``, ``pvecm status``, and the network between the nodes. Role
    ``pve_firewall`` refuses such a node, and its peers with it.

Fix safety
    ``pvecm expected 1`` makes a lone node writable, and the cluster inconsistent if the others live: only when they
    are known to be off.

References
    https://pve.proxmox.com/wiki/Cluster_Manager
    https://pve.proxmox.com/wiki/Proxmox_Cluster_File_System_(pmxcfs)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _guests, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("platform",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Judge the mount, then the quorum."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if node.mounted and node.quorate:
        return passed("/etc/pve is mounted and the cluster has quorum")
    if node.mounted and node.quorate is None:
        why = [u.reason for u in view.unread("platform.proxmox.quorate")]
        return unknown(why[0] if why else "/etc/pve/.members does not tell whether the cluster has quorum")
    lost = "the cluster has no quorum: /etc/pve is read-only" if node.mounted else "/etc/pve is not mounted"
    return view.fail(
        Grade.RISK,
        lost,
        evidence={"node": node.node, "mounted": node.mounted, "quorate": node.quorate},
        reproduce="ls -l /etc/pve/.version; cat /etc/pve/.members; pvecm status; systemctl status pve-cluster corosync",
        disproof="`touch /etc/pve/x && rm /etc/pve/x` works on this node.",
        owner="pve-cluster",
        advice=(
            "See `pvecm status` and the log of corosync: most often it is the network between the nodes, its MTU, or "
            "a full disk below /var/lib/pve-cluster. No option of the firewall can be changed until then."
        ),
        cause=lost,
    )
