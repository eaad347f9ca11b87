"""What moves by itself, in one place: it is stored apart from the rest, and is neither drift nor a difference. Pure.

Three readers share it: ``history`` keeps the values of ``FIELDS`` beside the content-addressed rest of a snapshot, so
that a host on which nothing changed is stored once; ``drift`` counts nothing of what is named here; ``checks._alike``
compares nothing of it between hosts.
"""

from __future__ import annotations

import re
from functools import lru_cache

FIELDS = frozenset(
    {
        "age", "backends_seen", "booted", "bytes", "census", "count", "cpu_ms", "dead_backends", "delta",
        "evidence", "expires", "index", "interval", "memory", "metric", "packets", "peak_kib", "per_cpu", "pid",
        "quorate", "seconds", "stats", "taken", "totals", "uptime", "used", "xtables_lock",
    }
)  # fmt: skip
"""Fields, wherever they stand in a snapshot. ``memory`` is MemTotal, which each kernel counts a little otherwise;
``evidence`` of an owner and ``pid`` name processes; a cluster gains and loses its quorum without anybody's doing."""
PATTERN = "|".join(sorted(FIELDS))
"""The same as alternatives of a regular expression."""

OF_THE_MOMENT = frozenset({"kmsg", "neighbour", "processes", "ring", "series", "sockets"})
"""Surfaces that are another in every reading. They are not stored: what a check made of them is in the verdicts."""

COMES_AND_GOES = r"(?:tap|veth|fwbr|fwln|fwpr|cali|lxc|br-|docker|virbr|vnet|vb-|ve-|podman|cni|flannel|nodelocaldns)"
"""Beginnings of interfaces that guests, pods and their managers make: their names are of today."""

NOT_COUNTED = re.compile(
    rf".*\.(?:{PATTERN})(?:[.\[].*)?"
    # the same variable of the kernel under another name, or made from others that are compared
    r"|sysctl\.(?:effective|not_applied)\b.*"
    r"|sysctl\.knobs\.(?:net\.ipv4\.conf\.all\.forwarding|net\.nf_conntrack_max|net\.netfilter\.nf_conntrack_buckets)\..*"
    r"|conntrack\.(?:max|max_writable|buckets|expect_max|timeouts|source)\b.*"
    r"|firewall\.bridge_nf_call\b.*"
    r"|sysctl\.knobs\..*\.(?:writable|overridden)\b.*"
    r"|platform\.boot_id|bpf\.policies\b.*"
    # the kernel or a guest moves it
    r"|sysctl\.knobs\.(?:kernel\.(?:random|ns_last_pid|pty)|fs\.(?:file-nr|inode|dentry))\b.*"
    rf"|sysctl\.knobs\.net\.ipv[46]\.(?:conf|neigh)\.{COMES_AND_GOES}[^.]*\..*"
    rf"|link\.links\[{COMES_AND_GOES}[^\]]*\].*"
    rf"|link\.(?:links\[.*\]\.(?:master|underlay)|default_via\[){COMES_AND_GOES}.*"
    rf"|firewall\.bridges\.(?:{COMES_AND_GOES})[^.]*\..*"
    r"|firewall\.[a-z_]+\[[^\]]*\b(?:KUBE|DOCKER|CNI|NETAVARK|LIBVIRT|CILIUM|cali)[-_].*"
    # IPv6: addresses that hosts make for themselves are new every day (RFC 8981)
    r"|link\.links\[.*\]\.(?:addresses\[.*:.*\]|underlay_by|peer_elsewhere)"
    r"|platform\.proxmox\.(?:guests|misread|comments|pending_network)\b.*"
)
"""Paths of facts (see ``drift.flat``) in which a host may differ from itself."""
PRESENCE = re.compile(r"firewall\.backends\..*")
"""Numbers of which only matters whether they are there: a cluster adds rules for every service."""


@lru_cache(maxsize=1 << 17)
def counts(path: str) -> bool:
    """Say whether a change of the fact at ``path`` is one."""
    return NOT_COUNTED.fullmatch(path) is None
