"""Backends of Services (DNAT) that nobody is behind any more, and the entries of connection tracking that go there.

An entry keeps its translation for as long as packets come, whatever the rules say by then. ctnetlink is asked for
entries with IPS_DST_NAT only, which the kernel filters since 5.15; older ones send all, so what is received is bounded.
The source of the reply tuple is the backend (include/uapi/linux/netfilter/nf_conntrack_common.h).
"""

from __future__ import annotations

import ipaddress
import struct
import time
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import backends
from hostaudit_agent.netfilter.census import (
    CT_GET,
    CT_NEW,
    CTA_STATUS,
    CTA_STATUS_MASK,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    NFGENMSG,
    tuple_text,
)
from hostaudit_agent.netfilter.talkers import PROTOCOLS
from hostaudit_agent.netlink import NETLINK_NETFILTER, Netlink, attribute, attributes, payloads
from hostaudit_agent.presence import has_module
from hostaudit_agent.records import dataclass, field
from hostaudit_agent.snapshot import Backend

if TYPE_CHECKING:
    from hostaudit_agent.netfilter.chains import Dnat, Key, Reading
    from hostaudit_agent.root import Root

CTA_TUPLE_REPLY, CTA_TIMEOUT, CTA_PROTO_NUM = 2, 7, 1
IPS_DST_NAT = 1 << 5
MOST_ENTRIES, SECONDS = 5000, 0.3
"""Of the entries that are looked at: about 60 ms."""
MOST_REPORTED, MOST_CHAINS, MOST_FLOWS = 64, 4, 8
REFRESHED = 1
"""Seconds by which an entry's timeout exceeds what is left of the earlier one: packets came in between."""


@dataclass
class Seen:
    """One look at the backends of this host."""

    number: int = 0
    """Addresses that DNAT rules name."""
    dead: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[Dnat]] = field(default_factory=dict)
    """Of dead backends only, as are the next."""
    flows: dict[str, dict[str, int]] = field(default_factory=dict)
    """Backend -> entry -> seconds until it times out."""

    def sample(self) -> dict[Key, int]:
        """Return what ``report`` compares with."""
        found: dict[Key, int] = {("dead", address): 1 for address in self.dead}
        for rules in self.rules.values():
            found.update({rule.key: rule.packets for rule in rules if rule.packets is not None})
        for flows in self.flows.values():
            found.update({("flow", text): seconds for text, seconds in flows.items()})
        return found


def look(root: Root, readings: list[Reading]) -> Seen:
    """Return what there is now; OSError: the kernel's answer. Nothing is asked without DNAT."""
    rules: dict[str, list[Dnat]] = {}
    for reading in readings:
        for rule in reading.dnat:
            rules.setdefault(rule.address, []).append(rule)
    seen = Seen(len(rules))
    if not rules and not any(reading.kube_proxy for reading in readings):
        return seen
    flows = _flows() if has_module(root, "nf_conntrack_netlink", "ctnetlink_get_conntrack") else {}
    seen.dead = backends.dead(dict.fromkeys([*rules, *flows]))
    seen.rules = {address: rules[address] for address in seen.dead if address in rules}
    seen.flows = {address: flows[address] for address in seen.dead if address in flows}
    return seen


def report(now: Seen, before: dict[Key, int], interval: float) -> list[Backend]:
    """Return the dead backends, compared with the sample that was taken ``interval`` seconds ago."""
    found = []
    for address, why in sorted(now.dead.items(), key=lambda item: ipaddress.ip_address(item[0]).packed)[:MOST_REPORTED]:
        rules, flows = now.rules.get(address, []), now.flows.get(address, {})
        moved = [
            r.packets - before[r.key]
            for r in rules
            if r.packets is not None and r.packets >= before.get(r.key, 1 << 64)
        ]
        left = {text: before["flow", text] - interval for text in flows if ("flow", text) in before}
        refreshed = {text for text, seconds in left.items() if flows[text] > seconds + REFRESHED}
        found.append(
            Backend(
                address=address,
                why=why,
                chains=sorted({rule.chain for rule in rules})[:MOST_CHAINS],
                flows=sorted(flows, key=lambda text: (text not in refreshed, text))[:MOST_FLOWS],
                lasting=("dead", address) in before,
                refreshed=len(refreshed),
                packets=sum(r.packets or 0 for r in rules) if rules else None,
                delta=sum(moved) if moved else None,
            )
        )
    return found


def _flows() -> dict[str, dict[str, int]]:
    """Return the entries whose destination is translated, by backend."""
    bits = struct.Struct(">I").pack
    request = NFGENMSG + attribute(CTA_STATUS, bits(IPS_DST_NAT)) + attribute(CTA_STATUS_MASK, bits(IPS_DST_NAT))
    found: dict[str, dict[str, int]] = {}
    looked_at, deadline = 0, time.monotonic() + SECONDS
    with Netlink(NETLINK_NETFILTER) as nl:
        for buffer, size in nl.stream(CT_GET, request):
            for start, end in payloads(buffer, size, CT_NEW, len(NFGENMSG)):
                looked_at += 1
                _note(attributes(bytes(buffer[start + len(NFGENMSG) : end])), found)
            if looked_at >= MOST_ENTRIES or time.monotonic() > deadline:
                break
    return found


def _note(entry: dict[int, bytes], found: dict[str, dict[str, int]]) -> None:
    """Add an entry that DNAT made."""
    if not int.from_bytes(entry.get(CTA_STATUS, b""), "big") & IPS_DST_NAT:
        return
    address = attributes(attributes(entry.get(CTA_TUPLE_REPLY, b"")).get(CTA_TUPLE_IP, b""))
    raw = address.get(1) or address.get(3) or b""  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
    if len(raw) not in (4, 16) or CTA_TIMEOUT not in entry:
        return
    protocol = attributes(attributes(entry[CTA_TUPLE_ORIG])[CTA_TUPLE_PROTO])[CTA_PROTO_NUM][0]
    text = f"{PROTOCOLS.get(protocol, str(protocol))} {tuple_text(entry)}"
    found.setdefault(str(ipaddress.ip_address(raw)), {})[text] = int.from_bytes(entry[CTA_TIMEOUT], "big")
