"""Statistics of interfaces and their queues (RTM_GETSTATS, RTM_GETQDISC), and what drivers say (ethtool's ioctl).

RTM_GETSTATS answers with nothing but struct rtnl_link_stats64 (include/uapi/linux/if_link.h), a fifth of what
RTM_GETLINK carries. Of queueing disciplines the root is read: mq adds up those of its queues, and classful ones count
what their classes drop (net/sched/sch_mq.c, sch_htb.c). What ``ingress`` and ``clsact`` drop was a program's decision.
"""

from __future__ import annotations

import errno
import socket
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Optional

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.collectors.counters import increase
from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import DeviceTable

RTM_GETQDISC, RTM_GETSTATS = 38, 94
IFLA_STATS_LINK_64 = 1
TCA_KIND, TCA_STATS2, TCA_STATS_QUEUE = 1, 7, 3
TC_H_ROOT = 0xFFFFFFFF
MOST = 256
"""Interfaces that are told; a hypervisor has three for each guest's."""
NAMES = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    *("multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"),
    *("rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors"),
    *("tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler"),
    "rx_otherhost_dropped",
)
"""In the struct's order; kernels append to it."""
GAUGES = frozenset(("qdisc.qlen", "qdisc.backlog"))

_stats = Struct("=BxHII")  # struct if_stats_msg: family, pad, index, filter mask
_tc = Struct("=BxHiIII")  # struct tcmsg: family, pad, index, handle, parent, info
_queue = Struct("=5I")  # struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits


class Counted(NamedTuple):
    """What is read twice, of one interface."""

    numbers: tuple[int, ...]
    """In the order of ``NAMES``, as many as this kernel has."""
    qdisc: str
    queue: Optional[tuple[int, ...]]


def sample(root: Root) -> dict[int, Counted]:
    """Return the counters of every interface by its index. Raises OSError, UnreadableError."""
    if not root.live:
        raise UnreadableError("devices are read by netlink, and a captured tree has no kernel to ask")
    with Netlink(NETLINK_ROUTE) as nl:
        answers = nl.dump(RTM_GETSTATS, _stats.pack(0, 0, 0, 1 << (IFLA_STATS_LINK_64 - 1)))
        queues = _queues(nl)
    found = {}
    for _, payload in answers:
        values = attributes(payload, _stats.size).get(IFLA_STATS_LINK_64, b"")
        count = min(len(values) // 8, len(NAMES))
        index = _stats.unpack_from(payload)[2]
        kind, queue = queues.get(index, ("", None))
        found[index] = Counted(Struct(f"={count}Q").unpack_from(values), kind, queue)
    return found


def collect(root: Root, before: dict[int, Counted] | None, unread: Callable[[str, str], None]) -> DeviceTable:
    """Return the interfaces that are there now, without loopback; those that moved most where there are too many."""
    from hostaudit_agent.ethtool import Ethtool  # noqa: PLC0415 - as below
    from hostaudit_agent.snapshot import Device, DeviceTable  # noqa: PLC0415 - the installed agent samples, and does without the schema

    now = sample(root)
    names = {index: name for index, name in socket.if_nameindex() if index in now and name != "lo"}
    wanted = sorted(names, key=lambda index: _weight(now[index], (before or {}).get(index)), reverse=True)[:MOST]
    devices = []
    with Ethtool() as ethtool:
        for index in wanted:
            said = ethtool.ask(names[index])
            totals = _named(now[index])
            old = before.get(index) if before else None
            delta = None if old is None else _difference(_named(old), totals)
            shown = {name: value for name, value in totals.items() if value}
            devices.append(
                Device(names[index], said.speed, said.duplex, said.tx_checksum, now[index].qdisc, shown, delta)
            )
    del unread
    return DeviceTable(sorted(devices, key=lambda device: device.name), len(names) - len(devices))


def _queues(nl: Netlink) -> dict[int, tuple[str, tuple[int, ...] | None]]:
    """Return kind and counters of the root queueing discipline by interface; none where the kernel has none."""
    found: dict[int, tuple[str, tuple[int, ...] | None]] = {}
    try:
        answers = nl.dump(RTM_GETQDISC, _tc.pack(0, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return found
        raise
    for _, payload in answers:
        _, _, index, _, parent, _ = _tc.unpack_from(payload)
        if parent != TC_H_ROOT:
            continue
        a = attributes(payload, _tc.size)
        kind = text(a.get(TCA_KIND, b""))
        queue = attributes(a.get(TCA_STATS2, b"")).get(TCA_STATS_QUEUE, b"")
        if kind != "noqueue" and len(queue) >= _queue.size:
            found[index] = (kind, _queue.unpack_from(queue))
    return found


def _named(counted: Counted) -> dict[str, int]:
    found = dict(zip(NAMES, counted.numbers))
    if counted.queue:
        names = ("qlen", "backlog", "drops", "requeues", "overlimits")
        found.update((f"qdisc.{name}", value) for name, value in zip(names, counted.queue))
    return found


def _weight(now: Counted, old: Counted | None) -> tuple[int, int]:
    """Return how much an interface moved, and how much it ever carried."""
    return (sum(now.numbers[:2]) - sum(old.numbers[:2]) if old else 0, sum(now.numbers[:2]))


def _difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the increases; a counter that went backwards is left out, as after ``tc qdisc replace``."""
    changes = {name: increase(before.get(name, 0), value) for name, value in after.items() if name not in GAUGES}
    return {name: change for name, change in changes.items() if change}
