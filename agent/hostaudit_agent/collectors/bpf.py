"""Cilium's own tables and counters: connection tracking, NAT and drop reasons, which are BPF maps.

Cilium pins them below a bpffs (pkg/defaults/defaults.go, BPFFSRoot and TCGlobalsPath); names cut to 15 characters are
all that the kernel has of them otherwise. Types and sizes are the kernel's answer, not taken from a version: CT and NAT
maps are LRU (pkg/maps/ctmap, pkg/maps/nat), each endpoint has a policy map of its own, a trie in later releases and a
hash before (pkg/maps/policymap), ``cilium_metrics`` has the reason as its key's first byte and two u64 for
each CPU, of which the first counts packets (pkg/maps/metricsmap; reasons from 130 on are drops, pkg/monitor/api).
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from errno import EACCES, EPERM
from time import monotonic
from typing import TYPE_CHECKING, Dict

from hostaudit_agent import bitlist
from hostaudit_agent.budget import fair
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Bpf, BpfMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

PINS = ("sys/fs/bpf/tc/globals", "run/cilium/bpffs/tc/globals")
SIGNS = ("sys/class/net/cilium_host", "run/cilium/state")
"""Names that are there where Cilium is, and that anybody may see."""
TABLES = (
    *("cilium_ct4_global", "cilium_ct_any4_global", "cilium_ct6_global", "cilium_ct_any6_global"),
    *("cilium_snat_v4_external", "cilium_snat_v6_external"),
)
POLICY = re.compile(r"cilium_policy_(?:v2_)?\d+")
FULLEST = 3
MOST_POLICIES = 1000
"""Endpoints whose policy maps are counted; a node has 110 pods by default."""
METRICS = "cilium_metrics"
FIRST_DROP = 130
SECONDS = 3.0
"""Wall time for counting all maps: a million entries take half of it where they are walked key by key."""
DENIED = "needs CAP_BPF and the right to look into bpffs, which root has unless the kernel is locked down"


def sample(root: Root) -> dict[str, int]:
    """Return reason -> packets dropped; empty without Cilium."""
    where, names = _pins(root)
    return _drops(root, where) if METRICS in names else {}


def collect(root: Root, before: dict[str, int] | None, unread: Callable[[str, str], None]) -> Bpf:
    """Return the tables' fill levels, and the drops. Raises UnreadableError where Cilium is and its maps are not."""
    where, names = _pins(root)
    if not where:
        return Bpf()
    found = Bpf("/" + where)
    until = monotonic() + fair(SECONDS)
    try:
        found.maps = [_table(root, f"{where}/{name}", until, unread) for name in TABLES if name in names]
        found.policies = _policies(root, where, list(filter(POLICY.fullmatch, names)), until, unread)
        found.totals = _drops(root, where) if METRICS in names else {}
    except OSError as error:
        raise (UnreadableError(DENIED) if error.errno in (EPERM, EACCES) else error) from None
    if before is not None:
        found.delta = {r: n - before.get(r, 0) for r, n in found.totals.items() if n > before.get(r, 0)}
    return found


def _pins(root: Root) -> tuple[str, list[str]]:
    """Return the directory of the pins and the names in it; empty without Cilium."""
    if not root.live:
        return "", []
    denied = False
    for where in PINS:
        try:
            names = root.names(where)
            if any(name.startswith("cilium_") for name in names):
                return where, names
        except PermissionError:
            denied = True
    if not any(root.exists(sign) for sign in SIGNS):
        return "", []
    raise UnreadableError(
        DENIED if denied else f"Cilium is here, and its maps are in none of /{', /'.join(PINS)}: is bpffs mounted?"
    )


def _table(root: Root, path: str, until: float, unread: Callable[[str, str], None]) -> BpfMap:
    from hostaudit_agent.bpfmap import F_NO_COMMON_LRU, Pinned  # noqa: PLC0415 - ctypes, where there are maps

    name = path.rpartition("/")[2]
    with Pinned(root.path(path)) as opened:
        info = opened.info
        table = BpfMap(name, info.kind, info.most, apart=bool(info.flags & F_NO_COMMON_LRU))
        try:
            table.used = opened.count(max(until - monotonic(), 0.0))
        except UnreadableError as why:
            unread(name, str(why))
    return table


def _policies(
    root: Root, where: str, names: list[str], until: float, unread: Callable[[str, str], None]
) -> list[BpfMap]:
    """Return the fullest policy maps. One that is gone meanwhile was that of a pod that ended."""
    found = []
    for name in names[:MOST_POLICIES]:
        with suppress(FileNotFoundError):
            found.append(_table(root, f"{where}/{name}", until, unread))
    if len(names) > MOST_POLICIES:
        unread("cilium_policy", f"more than {MOST_POLICIES} endpoints: the policy maps of the rest were not counted")
    return sorted(found, key=lambda one: -(one.used or 0) / max(one.max, 1))[:FULLEST]


def _drops(root: Root, where: str) -> dict[str, int]:
    """Return reason -> packets, all CPUs, directions and lines of source together."""
    from hostaudit_agent.bpfmap import Pinned  # noqa: PLC0415

    found: Dict[str, int] = {}
    with Pinned(root.path(f"{where}/{METRICS}")) as opened:
        if not opened.info.kind.startswith("percpu") or opened.info.value_size < 8:
            return found
        cpus = bitlist.count(root.read_text("sys/devices/system/cpu/possible") or "0")
        for key in opened.keys(fair(SECONDS)):
            if key[0] >= FIRST_DROP:
                packets = sum(int.from_bytes(value[:8], sys.byteorder) for value in opened.values(key, cpus))
                found[str(key[0])] = found.get(str(key[0]), 0) + packets
    return found
