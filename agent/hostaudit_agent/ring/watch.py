"""One tick: what is watched, and what moved since the last one.

A line of the ring has short keys, because there are ten thousand of them in a week:

    t   Unix time; s: seconds since the tick before, absent where there is nothing to compare with (first tick, boot)
    b   which boot, where it is another one
    c   entries and limit of the connection tracking table
    d   counters that moved: name -> increase
    r   chains whose INVALID drops moved: chain -> packets; rs: the seconds in which they did
    n   devices that lost packets: name -> increases, in the order of ``DEVICE``
    v   settings that changed: name -> [before, after]
    k   the kernel's log: [kind, subject, lines, first, last]; its times are its own
    u   what could not be read
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.collectors.counters import increase
from hostaudit_agent.ring import dear

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

CONNTRACK = ("invalid", "insert_failed", "drop", "early_drop", "error")
COUNTERS = (
    *("Ip.ForwDatagrams", "Ip6.OutForwDatagrams", "Tcp.OutSegs", "Tcp.RetransSegs", "Udp.RcvbufErrors"),
    *("TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop", "TcpExt.IPReversePathFilter"),
    "softnet.dropped",
)
DEVICE = ("rx_packets", "tx_packets", "ring", "rx_dropped", "qdisc.drops", "tx_dropped", "rx_errors", "tx_errors")
LOSSES = slice(2, None)
MOST_DEVICES = 8
"""Told in one line: those that lost most."""
SETTINGS = (
    *("net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets", "net.netfilter.nf_conntrack_tcp_loose"),
    *("net.netfilter.nf_conntrack_tcp_be_liberal", "net.netfilter.nf_conntrack_tcp_timeout_established"),
    *("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"),
    *("net.bridge.bridge-nf-filter-vlan-tagged", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    *("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter", "net.ipv4.conf.all.arp_ignore"),
    *("net.ipv4.conf.all.arp_announce", "net.ipv4.neigh.default.gc_thresh3", "net.ipv6.neigh.default.gc_thresh3"),
    *("net.core.somaxconn", "net.core.netdev_max_backlog", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.tcp_mtu_probing", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse"),
)
LONGEST_VALUE = 64

State = dict[str, Any]
"""What the next tick compares with; see ``look``."""


def look(root: Root, last: State) -> tuple[dict[str, Any], State]:
    """Return the line of this tick, and the state for the next one.

    State: ``t`` Unix time, ``up`` CLOCK_BOOTTIME, ``boot``; totals in ``d`` (counters), ``n`` (devices), ``r``
    (chains); ``v`` settings; ``c`` as in the line; ``u`` part -> why it was not read; more in ``dear``.
    """
    state: State = {
        "t": round(time.time(), 1),
        "up": round(time.clock_gettime(time.CLOCK_BOOTTIME), 1),
        "boot": _boot(root),
        "u": {},
    }
    same = bool(last) and last.get("boot") == state["boot"]
    before: State = last if same else {}
    record: dict[str, Any] = {"t": state["t"]}
    if same:
        record["s"] = round(state["up"] - last["up"], 1)
    else:
        record["b"] = state["boot"]
    _try(state, "counters", lambda: _counters(root, before, record, state))
    _try(state, "conntrack", lambda: _conntrack(root, before, record, state))
    _try(state, "device", lambda: _devices(root, before, record, state))
    _try(state, "sysctl", lambda: _settings(root, last, record, state))
    _try(state, "firewall", lambda: dear.rules(root, before, record, state))
    _try(state, "kmsg", lambda: dear.kernel_log(root, before, record, state))
    if state["u"]:
        record["u"] = sorted(state["u"])
    return record, state


def _try(state: State, part: str, read: Callable[[], None]) -> None:
    try:
        read()
    except (OSError, UnreadableError, ValueError, KeyError) as e:
        state["u"][part] = getattr(e, "strerror", None) or str(e) or type(e).__name__


def _boot(root: Root) -> str:
    """Return what is another one after each boot, also of a container: see ``Platform.boot_id``."""
    kernel = (root.read_text("proc/sys/kernel/random/boot_id") or "").strip()
    fields = (root.read_text("proc/1/stat") or "").rpartition(")")[2].split()
    return f"{kernel} {fields[19] if len(fields) > 19 else ''}".strip()


def _counters(root: Root, before: State, record: dict[str, Any], state: State) -> None:
    from hostaudit_agent.collectors import counters  # noqa: PLC0415 - a broken part must not stop the others

    totals = counters.sample(root)
    state.setdefault("d", {}).update({name: totals[name] for name in COUNTERS if name in totals})
    _moved(before, record, state, COUNTERS)


def _conntrack(root: Root, before: State, record: dict[str, Any], state: State) -> None:
    from hostaudit_agent.collectors import conntrack  # noqa: PLC0415 - as above

    found = conntrack.sample(root)
    if found is None:
        return
    if found.entries is not None and found.limit is not None:
        record["c"] = state["c"] = [found.entries, found.limit]
    if found.reason:
        state["u"]["conntrack"] = found.reason
        return
    totals = conntrack.total(found.stats)
    names = [f"conntrack.{name}" for name in CONNTRACK if name in totals]
    state.setdefault("d", {}).update({name: totals[name.partition(".")[2]] for name in names})
    _moved(before, record, state, names)


def _moved(before: State, record: dict[str, Any], state: State, names: Any) -> None:
    """Put the increases of these counters into the line; a counter that went backwards says nothing."""
    old = before.get("d", {})
    for name in names:
        if name in old and name in state["d"]:
            change = increase(old[name], state["d"][name])
            if change:
                record.setdefault("d", {})[name] = change


def _devices(root: Root, before: State, record: dict[str, Any], state: State) -> None:
    import socket  # noqa: PLC0415 - as above

    from hostaudit_agent.collectors import device  # noqa: PLC0415 - as above

    names = dict(socket.if_nameindex())
    now = {names[index]: _row(counted) for index, counted in device.sample(root).items() if index in names}
    now.pop("lo", None)
    state["n"] = now
    lost: dict[str, list[int]] = {}
    for name, old in before.get("n", {}).items():
        if name in now and any(b > a for a, b in zip(old[LOSSES], now[name][LOSSES])):
            lost[name] = [increase(a, b) or 0 for a, b in zip(old, now[name])]
    if lost:
        worst = sorted(lost, key=lambda name: -sum(lost[name][LOSSES]))[:MOST_DEVICES]
        record["n"] = {name: lost[name] for name in worst}


def _row(counted: Any) -> list[int]:
    """Return an interface's counters in the order of ``DEVICE``; drivers count a full ring in one of two places."""
    from hostaudit_agent.collectors.device import NAMES  # noqa: PLC0415 - as above

    found = dict(zip(NAMES, counted.numbers))
    found["ring"] = max(found.get("rx_fifo_errors", 0), found.get("rx_missed_errors", 0))
    found["qdisc.drops"] = counted.queue[2] if counted.queue else 0
    return [found.get(name, 0) for name in DEVICE]


def _settings(root: Root, last: State, record: dict[str, Any], state: State) -> None:
    """Compare the settings with those of the last tick, also where it was of another boot."""
    values: dict[str, str] = {}
    for name in SETTINGS:
        text = root.read_text("proc/sys/" + name.replace(".", "/"))
        if text is not None:
            values[name] = " ".join(text.split())[:LONGEST_VALUE]
    state["v"] = values
    old = last.get("v", {})
    changed = {name: [old[name], value] for name, value in values.items() if name in old and old[name] != value}
    if changed:
        record["v"] = changed
