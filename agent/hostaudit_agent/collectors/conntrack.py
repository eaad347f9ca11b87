"""Connection tracking: the table's size and limits, its timeouts and its per-CPU statistics.

Sources: /proc/sys/net/netfilter (Documentation/networking/nf_conntrack-sysctl.rst), ctnetlink's IPCTNL_MSG_CT_GET_STATS
and _STATS_CPU (net/netfilter/nf_conntrack_netlink.c), and /proc/net/stat/nf_conntrack where ctnetlink is missing or not
permitted. All belong to the network namespace of the calling thread. Counters are u32 and wrap.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple, Optional

from hostaudit_agent.budget import BudgetError
from hostaudit_agent.netlink import NETLINK_NETFILTER, Netlink, attributes
from hostaudit_agent.presence import has_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import Census, Conntrack

SYSCTL = "/proc/sys/net/netfilter/"
PREFIX = "nf_conntrack_"
PROCFS = "/proc/net/stat/nf_conntrack"
HASHSIZE = "/sys/module/nf_conntrack/parameters/hashsize"
CT_GET_STATS_CPU, CT_GET_STATS = 0x104, 0x105
CTA_STATS_GLOBAL_ENTRIES, CTA_STATS_GLOBAL_MAX_ENTRIES = 1, 2
NFGENMSG = bytes(4)
# enum ctattr_stats_cpu in include/uapi/linux/netfilter/nfnetlink_conntrack.h, by number
NAMES = (
    *("", "searched", "found", "new", "invalid", "ignore", "delete", "delete_list", "insert", "insert_failed"),
    *("drop", "early_drop", "error", "search_restart", "clash_resolve", "chain_toolong"),
)
# Names of columns where they differ from the uapi's. ``clashres`` and ``chainlength`` stand where older kernels had
# ``searched`` and ``delete_list``, which are other counters; ``expect_*`` count expectations, ``entries`` is the
# table's total, repeated in every line.
COLUMNS = {"clashres": "clash_resolve", "chainlength": "chain_toolong", "icmp_error": "error"}
CONSTANT = ("new", "ignore", "delete")  # kept in the file as 0 by kernels that have ``clashres``
UINT32 = 1 << 32
CENSUS_FILL = 0.5
ONE_SIDED_ENTRIES = 100_000
# A dump walks the hash of the whole host, also for a namespace with few entries: seconds for all namespaces together.
ONE_SIDED_SECONDS = 1.0
NO_RIGHT = "needs CAP_NET_ADMIN"

Stats = dict[int, dict[str, int]]
"""CPU -> counter -> value."""


class Sample(NamedTuple):
    """What is read twice."""

    source: str
    stats: Stats
    entries: Optional[int]
    limit: Optional[int]
    reason: str
    """Why there are no statistics; empty when there are."""


def sample(root: Root) -> Sample | None:
    """Return statistics and number of entries; ``None`` where the kernel has no connection tracking."""
    count, limit = root.read_int(SYSCTL + "nf_conntrack_count"), root.read_int(SYSCTL + "nf_conntrack_max")
    reason = ""
    if _ctnetlink(root):
        try:
            with Netlink(NETLINK_NETFILTER) as nl:
                stats = parse_stats([payload for _, payload in nl.dump(CT_GET_STATS_CPU, NFGENMSG)])
                if count is None:  # namespaces of unprivileged containers hide the files on older kernels
                    count, limit = parse_global(nl.request(CT_GET_STATS, NFGENMSG)[1])
            return Sample("nfnetlink", stats, count, limit, "")
        except OSError as error:
            reason = explain(error)
    if count is None:
        return None
    try:
        text = root.read_text(PROCFS)
        if text is not None:
            return Sample("procfs", parse_procfs(text), count, limit, "")
    except (OSError, ValueError) as error:
        reason = f"{PROCFS}: {getattr(error, 'strerror', None) or error}"
    return Sample("", {}, count, limit, reason or "this kernel has neither ctnetlink nor " + PROCFS)


def collect(root: Root, before: object, unread: Callable[[str, str], None]) -> Conntrack:
    """Return the surface but for its census."""
    from hostaudit_agent.snapshot import Conntrack  # noqa: PLC0415 - the installed agent samples, and does without the schema

    now = sample(root)
    if now is None:
        return Conntrack(loaded=False)
    found = Conntrack(loaded=True, source=now.source, count=now.entries, max=now.limit)
    if not now.source:
        unread("stats", now.reason)
    _read_limits(root, found, unread)
    found.stats = total(now.stats)
    found.per_cpu = [
        {"cpu": cpu, **{name: value for name, value in counters.items() if value}}
        for cpu, counters in sorted(now.stats.items())
    ]
    if isinstance(before, Sample):
        found.delta = difference(before, now)
    return found


def later(root: Root, found: Conntrack, unread: Callable[[str, str], None], *, census: bool = False) -> None:
    """Add the census, which may take as long as all surfaces together. ``census``: where the table is emptier too."""
    if root.live and found.count:
        try:
            found.census = _census(root, found.count, found.max, unread, forced=census)
        except BudgetError as over:
            unread("census", str(over))


def _ctnetlink(root: Root) -> bool:
    """Tell whether ctnetlink can be asked: the live system, and nothing would be loaded."""
    return root.live and bool(has_module(root, "nf_conntrack_netlink", "ctnetlink_get_conntrack"))


def _read_limits(root: Root, found: Conntrack, unread: Callable[[str, str], None]) -> None:
    def number(name: str, part: str) -> int | None:
        try:
            return root.read_int(name)
        except PermissionError:
            unread(part, f"{name}: needs root")
        except (OSError, ValueError) as error:
            unread(part, f"{name}: {getattr(error, 'strerror', None) or error}")
        return None

    try:
        # The mode says it: root may open the file of another namespace for writing, and then gets EPERM or EINVAL.
        found.max_writable = bool(os.stat(root.path(SYSCTL + "nf_conntrack_max")).st_mode & 0o200)
    except OSError:
        found.max_writable = False
    found.buckets = number(SYSCTL + "nf_conntrack_buckets", "buckets")
    found.hashsize = number(HASHSIZE, "hashsize")
    found.expect_max = number(SYSCTL + "nf_conntrack_expect_max", "expect_max")
    for name in root.names(SYSCTL):
        if name.startswith(PREFIX) and "_timeout" in name:
            key = name[len(PREFIX) :].replace("_timeout", "", 1)
            value = number(SYSCTL + name, "timeouts/" + key)
            if value is not None:
                found.timeouts[key] = value


def parse_stats(payloads: list[bytes]) -> Stats:
    """Return the answers to IPCTNL_MSG_CT_GET_STATS_CPU; nfgenmsg.res_id is the CPU."""
    stats: Stats = {}
    for payload in payloads:
        cpu = int.from_bytes(payload[2:4], "big")
        stats[cpu] = {
            NAMES[kind]: int.from_bytes(value, "big")
            for kind, value in attributes(payload, 4).items()
            if 0 < kind < len(NAMES)
        }
    return stats


def parse_global(payload: bytes) -> tuple[int | None, int | None]:
    """Return entries and maximum from the answer to IPCTNL_MSG_CT_GET_STATS (the maximum came with Linux 4.18)."""
    found = {kind: int.from_bytes(value, "big") for kind, value in attributes(payload, 4).items()}
    return found.get(CTA_STATS_GLOBAL_ENTRIES), found.get(CTA_STATS_GLOBAL_MAX_ENTRIES)


def parse_procfs(text: str) -> Stats:
    """Return /proc/net/stat/nf_conntrack: a line of names, then one line of hexadecimal numbers per possible CPU.

    ValueError where a line does not fit the names.
    """
    lines = text.splitlines()
    names = lines[0].split() if lines else []
    if "invalid" not in names:
        raise ValueError("no column named invalid")
    skip = CONSTANT if "clashres" in names else ()
    stats: Stats = {}
    for cpu, line in enumerate(lines[1:]):
        values = line.split()
        if len(values) != len(names):
            raise ValueError(f"{len(values)} numbers below {len(names)} names")
        columns = ((COLUMNS.get(name, name), value) for name, value in zip(names, values) if name not in skip)
        stats[cpu] = {name: int(value, 16) for name, value in columns if name in NAMES}
    return stats


def total(stats: Stats) -> dict[str, int]:
    """Return the sum over CPUs."""
    sums: dict[str, int] = {}
    for counters in stats.values():
        for name, value in counters.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def difference(before: Sample, now: Sample) -> dict[str, int] | None:
    """Return the increase per counter, and ``count``; ``None`` where the two cannot be compared."""
    if before.source != now.source or before.stats.keys() != now.stats.keys():
        return None
    delta: dict[str, int] = {}
    for cpu, counters in now.stats.items():
        for name, value in counters.items():
            increase = (value - before.stats[cpu].get(name, 0)) % UINT32
            delta[name] = delta.get(name, 0) + increase
    if before.entries is not None and now.entries is not None:
        delta["count"] = now.entries - before.entries
    return delta


_one_sided_left = [ONE_SIDED_SECONDS]


def _census(
    root: Root, count: int, limit: int | None, unread: Callable[[str, str], None], *, forced: bool
) -> Census | None:
    """Count by kind a table that is half full, or when forced; else only look for one-sided handshakes."""
    whole = forced or bool(limit and count > CENSUS_FILL * limit)
    if not whole and count > ONE_SIDED_ENTRIES:
        return None
    if not _ctnetlink(root):
        unread("census", "nf_conntrack_netlink is not loaded")
        return None
    if not whole and _one_sided_left[0] <= 0:
        unread("census.one_sided", "the time for walking the table went into other namespaces; ask for the census")
        return None
    from hostaudit_agent.netfilter import census as table  # noqa: PLC0415 - idle hosts need not compile it

    began = time.monotonic()
    try:
        with Netlink(NETLINK_NETFILTER, timeout=20.0) as nl:
            return table.count(nl, expected=count) if whole else table.one_sided(nl, seconds=_one_sided_left[0])
    except OSError as error:
        unread("census", explain(error))
        return None
    finally:
        if not whole:
            _one_sided_left[0] -= time.monotonic() - began


def explain(error: OSError) -> str:
    """Return a sentence for people."""
    return NO_RIGHT if isinstance(error, PermissionError) else error.strerror or str(error)
