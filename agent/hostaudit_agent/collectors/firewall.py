"""What the packet filter does to packets that people miss, with its counters.

Rules that drop packets in state INVALID or exempt packets from tracking; rules that translate addresses or lower the
MSS; where the messages of path MTU discovery die; backends that nobody is behind; who holds the lock of iptables.

All backends are read, because several can be active at once: legacy iptables and ip6tables (Proxmox VE's default
firewall is there, invisible to nft), and nf_tables with the rules of nft and of iptables-nft. Which rule belongs to
whom, and whether it does harm, is for the checks to say.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Tuple, TypeVar, Union

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.netfilter import iptables, nftables, xtlock
from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attribute, attributes, text
from hostaudit_agent.snapshot import Firewall

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.chains import Found, Reading
    from hostaudit_agent.netfilter.services import Seen
    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import MssRule, NatRule, Rule, TooBigDrop

    Counted = TypeVar("Counted", Rule, NatRule, MssRule, TooBigDrop)

SYSCTL = "/proc/sys/net/bridge/bridge-nf-"
SYSCTLS = {name: SYSCTL + name for name in ("call-iptables", "call-ip6tables", "call-arptables", "filter-vlan-tagged")}
RTM_GETLINK = 18
IFINFOMSG = bytes(16)
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA = 3, 18, 1, 2
# IFLA_BR_* in include/uapi/linux/if_link.h
BRIDGE = {7: "vlan_filtering", 36: "nf_call_iptables", 37: "nf_call_ip6tables"}

Counts = Dict[Tuple[Union[str, int], ...], int]


class Sample(NamedTuple):
    """What is read twice."""

    counts: Counts
    """Rule -> packets; what else is compared has keys of its own."""
    lock: Optional[xtlock.Users]
    at: float
    """Monotonic time, seconds."""


def sample(root: Root) -> Sample:
    """Return the packet counters of the rules that ``collect`` will report."""
    if not root.live:
        return Sample({}, None, 0.0)
    readings = _readings(root)
    counts = {
        found.key: found.rule.packets
        for reading in readings
        for kind in (reading.invalid, reading.notrack, reading.nat, reading.mss, reading.too_big)
        for found in kind
        if found.rule.packets is not None
    }
    services = _services(root, readings, lambda *_: None)
    if services is not None:
        counts.update(services.sample())
    return Sample(counts, _lock(root, lambda *_: None), time.monotonic())


def collect(root: Root, before: object, unread: Callable[[str, str], None]) -> Firewall:
    """Return the surface; UnreadableError when none of it could be read."""
    if not root.live:
        raise UnreadableError("a captured tree does not hold the kernel's rules; run the agent on the node")
    readings = _readings(root)
    missing = [entry for reading in readings for entry in reading.unread]
    backends = {name: number for reading in readings for name, number in reading.backends.items()}
    if missing and not backends:
        raise UnreadableError("; ".join(sorted({f"{part}: {reason}" for part, reason in missing})))
    for part, reason in missing:
        unread(part, reason)
    first = before if isinstance(before, Sample) else Sample({}, None, time.monotonic())
    earlier, users = first.counts, _lock(root, unread)
    found = Firewall(
        invalid=[_with_delta(found, earlier) for reading in readings for found in reading.invalid],
        notrack=[_with_delta(found, earlier) for reading in readings for found in reading.notrack],
        backends=backends,
        bridge_nf_call=_bridge_nf_call(root, unread),
        bridges=_bridges(unread),
        policies={name: policy for reading in readings for name, policy in reading.policies.items()},
        nat=[_with_delta(found, earlier) for reading in readings for found in reading.nat],
        mss=[_with_delta(found, earlier) for reading in readings for found in reading.mss],
        too_big=[_with_delta(found, earlier) for reading in readings for found in reading.too_big],
        kube_proxy=sorted({mode for reading in readings for mode in reading.kube_proxy}),
        xtables_lock=users and xtlock.report(root, users, first.lock),
    )
    services = _services(root, readings, unread)
    if services is not None:
        from hostaudit_agent.netfilter.services import report  # noqa: PLC0415 - see _services

        found.backends_seen = services.number
        found.dead_backends = report(services, earlier, time.monotonic() - first.at)
    return found


def _services(root: Root, readings: list[Reading], unread: Callable[[str, str], None]) -> Seen | None:
    """Return the backends of Services; ``None`` where no rule translates destinations, or they cannot be told."""
    if not any(reading.dnat or reading.kube_proxy for reading in readings):
        return None
    from hostaudit_agent.netfilter import services  # noqa: PLC0415 - the agent is compiled anew on every run

    try:
        return services.look(root, readings)
    except (OSError, KeyError, IndexError, ValueError) as error:
        unread("dead_backends", getattr(error, "strerror", None) or f"malformed netlink answer: {error!r}")
        return None


def _lock(root: Root, unread: Callable[[str, str], None]) -> xtlock.Users | None:
    """Return who uses the lock of iptables, which belongs to the host and not to a namespace."""
    if root.netns:
        return None
    try:
        return xtlock.look(root)
    except OSError as error:
        unread("xtables_lock", error.strerror or str(error))
        return None


def _readings(root: Root) -> list[Reading]:
    return [iptables.read(root), nftables.read(root)]


def _with_delta(found: Found[Counted], earlier: Counts) -> Counted:
    """Return the rule with its increase; a counter that went backwards was reset, and has none."""
    rule, then = found.rule, earlier.get(found.key)
    if rule.packets is not None and then is not None and rule.packets >= then:
        rule.delta = rule.packets - then
    return rule


def _bridge_nf_call(root: Root, unread: Callable[[str, str], None]) -> dict[str, int | None]:
    """Return the sysctls of br_netfilter, of the namespace that opens the files."""
    found: dict[str, int | None] = {}
    for name, path in SYSCTLS.items():
        try:
            found[name.replace("call-", "", 1)] = root.read_int(path)
        except (OSError, ValueError) as error:
            unread("bridge_nf_call", f"{path}: {error}")
    return found


def _bridges(unread: Callable[[str, str], None]) -> dict[str, dict[str, int]]:
    """Return the options of each bridge; from rtnetlink, since /sys may show another network namespace."""
    found = {}
    wanted = IFINFOMSG + attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
    try:
        with Netlink(NETLINK_ROUTE) as nl:
            for _, payload in nl.dump(RTM_GETLINK, wanted):
                link = attributes(payload, len(IFINFOMSG))
                info = attributes(link.get(IFLA_LINKINFO, b""))
                if text(info.get(IFLA_INFO_KIND, b"")) == "bridge":  # older kernels do not filter
                    data = attributes(info.get(IFLA_INFO_DATA, b""))
                    found[text(link[IFLA_IFNAME])] = {n: data[k][0] for k, n in BRIDGE.items() if data.get(k)}
    except OSError as error:
        unread("bridges", error.strerror or str(error))
    return found
