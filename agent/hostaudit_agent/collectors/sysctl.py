"""Knobs below /proc/sys: what runs, what the files would set at boot, and what the kernel makes of both levels.

The kernel combines ``conf.all`` with ``conf.<interface>`` by a rule per knob (include/linux/inetdevice.h): the greater
of both for rp_filter and the arp_* numbers, one of both for switches such as log_martians, both for others.

In a namespace that was entered (``Root.netns``) nothing is configured: the files are applied in the first one, and a
new namespace begins with the kernel's defaults.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hostaudit_agent import atboot
from hostaudit_agent.budget import check
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Knob, Sysctl
from hostaudit_agent.sysctld import Configuration, Files, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

TOP = "proc/sys/"
NETFILTER, CONF = "net/netfilter", "net/ipv4/conf"
LEVELS = ("all", "default")
NOT_KNOBS = frozenset(("nf_conntrack_count",))

KNOBS = (
    # bridged packets and the packet filter; absent: br_netfilter is not loaded
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-arptables",
    "net/bridge/bridge-nf-filter-vlan-tagged",
    "net/bridge/bridge-nf-filter-pppoe-tagged",
    "net/bridge/bridge-nf-pass-vlan-input-dev",
    # connection tracking; the rest of net/netfilter is listed as it is found
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_buckets",
    "net/netfilter/nf_conntrack_expect_max",
    "net/netfilter/nf_conntrack_log_invalid",
    "net/netfilter/nf_conntrack_checksum",
    "net/netfilter/nf_conntrack_tcp_loose",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_ignore_invalid_rst",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_log_all_netns",
    # forwarding
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv6/fib_multipath_hash_policy",
    # neighbours; the thresholds exist in the first namespace only
    *(
        f"net/{family}/neigh/default/{name}"
        for family in ("ipv4", "ipv6")
        for name in (
            "gc_thresh1", "gc_thresh2", "gc_thresh3", "gc_interval",
            "gc_stale_time", "base_reachable_time_ms", "unres_qlen_bytes",
        )
    ),
    # SYN flood and accept queue
    "net/core/somaxconn",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_syn_retries",
    "net/ipv4/tcp_synack_retries",
    "net/ipv4/tcp_abort_on_overflow",
    # idle connections
    "net/ipv4/tcp_keepalive_time",
    "net/ipv4/tcp_keepalive_intvl",
    "net/ipv4/tcp_keepalive_probes",
    "net/ipv4/tcp_retries2",
    "net/ipv4/tcp_orphan_retries",
    "net/ipv4/tcp_rfc1337",
    "net/ipv4/tcp_challenge_ack_limit",
    # path MTU
    "net/ipv4/tcp_mtu_probing",
    "net/ipv4/tcp_base_mss",
    "net/ipv4/ip_no_pmtu_disc",
    "net/ipv4/ip_forward_use_pmtu",
    "net/ipv4/route/min_pmtu",
    "net/ipv4/route/mtu_expires",
    "net/ipv4/icmp_ratelimit",
    "net/ipv4/icmp_ratemask",
    # ports
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_max_tw_buckets",
    "net/ipv4/tcp_fin_timeout",
    # backlog and buffers; of the whole host
    "net/core/netdev_max_backlog",
    "net/core/netdev_budget",
    "net/core/netdev_budget_usecs",
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/default_qdisc",
    # not of the network, but written by the same owners
    "fs/file-max",
    "kernel/pid_max",
    "vm/max_map_count",
)  # fmt: skip

PER_INTERFACE = (
    "rp_filter", "arp_ignore", "arp_announce", "arp_filter", "arp_accept", "arp_notify", "accept_local",
    "route_localnet", "accept_redirects", "secure_redirects", "send_redirects", "accept_source_route", "log_martians",
    "proxy_arp", "src_valid_mark", "forwarding",
)  # fmt: skip
MAX = frozenset(("rp_filter", "arp_ignore", "arp_announce", "arp_accept", "arp_notify"))
AND = frozenset(("accept_source_route",))
OWN = frozenset(("forwarding",))

ALIASES = {
    "net/ipv4/ip_forward": ("net/ipv4/conf/all/forwarding",),
    "net/ipv4/conf/all/forwarding": ("net/ipv4/ip_forward",),
    "net/netfilter/nf_conntrack_max": ("net/nf_conntrack_max",),
}
"""Other names of the same variable in the kernel."""

_SWAP = str.maketrans("./", "/.")


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> Sysctl:
    """Return the knobs. ``before`` is not used: knobs are not counters."""
    del before
    if not root.names(TOP):
        raise UnreadableError("/proc/sys is empty or not mounted")
    files = Files([], {}, "") if root.netns else read(root, unread)
    knobs = _Knobs(root, Configuration(files.lines), unread)
    for path in _paths(root):
        knobs.add(path, writable=None)
    interfaces, told = [name for name in root.names(TOP + CONF) if name not in LEVELS], _told(root)
    # their modes are those of conf.all: one system call less for each of thousands
    modes = {knob: knobs.found[f"net.ipv4.conf.all.{knob}"].writable for knob in PER_INTERFACE}
    for name in interfaces:
        check()
        known = told.get(name, {})
        for knob, writable in modes.items():
            knobs.add(f"{CONF}/{name}/{knob}", writable=writable, text=known.get(knob))
    at_boot = atboot.loaded(root) if files.applied_by.startswith("systemd") else None
    return Sysctl(knobs.found, _effective(knobs.found, interfaces), files.applied_by, files.not_applied, at_boot)


def _told(root: Root) -> dict[str, dict[str, str]]:
    """Return what the kernel tells of its interfaces at once; the files say the rest."""
    if not root.live:
        return {}
    from hostaudit_agent import devconf  # noqa: PLC0415 - a captured tree has no kernel to ask

    try:
        return devconf.read()
    except OSError:
        return {}


def name_of(path: str) -> str:
    """Return the sysctl name of a path below /proc/sys, with a dot of an interface's name as a slash."""
    return path.translate(_SWAP)


def _paths(root: Root) -> list[str]:
    """Return the knobs of the namespace as a whole, present or not."""
    tracked = [
        f"{NETFILTER}/{name}"
        for name in root.names(TOP + NETFILTER)
        if name.startswith(("nf_conntrack_", "nf_flowtable_")) and name not in NOT_KNOBS
    ]
    return list(dict.fromkeys((*KNOBS, *tracked, *(f"{CONF}/{lv}/{knob}" for lv in LEVELS for knob in PER_INTERFACE))))


class _Knobs:
    """Collects knobs by name."""

    def __init__(self, root: Root, configuration: Configuration, unread: Callable[[str, str], None]) -> None:
        self.found: dict[str, Knob] = {}
        self._root, self._configuration, self._unread = root, configuration, unread
        self._read_only = _read_only(root)

    def add(self, path: str, *, writable: bool | None, text: str | None = None) -> None:
        """Read one knob, unless its ``text`` is known already.

        With ``writable`` None its mode is asked for, and a knob that does not exist is kept.
        """
        name, optional = name_of(path), writable is not None
        try:
            text = self._root.read_text(TOP + path) if text is None else text
            if text is None and optional:
                return  # the interface went away meanwhile
            if writable is None:
                writable = text is not None and self._writable(path)
        except OSError as e:
            self._unread(name, f"{e.strerror}: /{TOP}{path}")
            text, writable = None, False
        running = None if text is None else " ".join(text.split())
        self.found[name] = Knob(running, writable, *self._configuration.of(path, *ALIASES.get(path, ())))

    def _writable(self, path: str) -> bool:
        """Tell whether the file has a write bit; outside its own namespace it has none."""
        if path.partition("/")[0] in self._read_only:
            return False
        return bool(os.stat(self._root.path(TOP + path)).st_mode & 0o200)


def _read_only(root: Root) -> set[str]:
    """Return the directories of /proc/sys that are mounted read-only, as containers have them."""
    found = set()
    for name in root.names(TOP):
        try:
            if os.statvfs(root.path(TOP + name)).f_flag & os.ST_RDONLY:
                found.add(name)
        except OSError:
            found.add(name)
    return found


def _effective(knobs: dict[str, Knob], interfaces: list[str]) -> dict[str, dict[str, int]]:
    every = {knob: _number(knobs, "all", knob) for knob in PER_INTERFACE}
    effective: dict[str, dict[str, int]] = {}
    for interface in interfaces:
        level = name_of(interface)
        forwarding = _number(knobs, level, "forwarding") == 1
        for knob, general in every.items():
            own = _number(knobs, level, knob)
            if own is not None and general is not None:
                effective.setdefault(knob, {})[interface] = combined(knob, general, own, forwarding=forwarding)
    return effective


def combined(knob: str, every: int, own: int, *, forwarding: bool) -> int:
    """Return what the kernel applies for conf.all = ``every`` and conf.<interface> = ``own``."""
    if knob in OWN:
        return own
    if knob in MAX:
        return max(every, own)
    if knob in AND or (knob == "accept_redirects" and forwarding):
        return int(bool(every) and bool(own))
    return int(bool(every) or bool(own))


def _number(knobs: dict[str, Knob], level: str, knob: str) -> int | None:
    found = knobs.get(f"net.ipv4.conf.{level}.{knob}")
    try:
        return None if found is None or found.running is None else int(found.running)
    except ValueError:
        return None
