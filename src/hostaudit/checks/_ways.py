"""What an INVALID drop protects, and what can be done about it other than to lift it for everything. Pure.

Packets that conntrack is told not to track are UNTRACKED, not INVALID (net/netfilter/nf_conntrack_core.c), so they pass
a rule that drops INVALID; rules that accept ESTABLISHED do not accept them either.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from hostaudit.model import Alternative

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.checks._invalid import Drops

_SYMMETRIC = Alternative(
    "a symmetric path",
    "externalTrafficPolicy: Local with the backends' nodes announced alone; one gateway for both ways; VRRP without "
    "preemption and with the master as the backends' next hop.",
    "The drop stays as it is everywhere. Traffic goes to fewer nodes, and the network's design changes.",
)
_SNAT = Alternative(
    "SNAT instead of DSR",
    "Cilium: loadBalancer.mode=snat. MetalLB with kube-proxy: externalTrafficPolicy: Cluster.",
    "The drop stays as it is everywhere. Backends no longer see the client's address, and every answer takes the way "
    "back through the node that took the request.",
)


def alternatives(view: View, drops: Drops) -> tuple[Alternative, ...]:
    """Return the narrower ways, the narrowest first; none where nothing on the way is bridged or routed."""
    return (_notrack(view, drops), _SNAT, _SYMMETRIC)


def _notrack(view: View, drops: Drops) -> Alternative:
    """Return the exemption of one address, for the tables that the rules are in."""
    addresses = [address for text in view.host.vips if (address := _address(text))] or ["VIP"]
    nftables = all(rule.backend == "nftables" for rule in drops.met)
    lines: list[str] = []
    for address in addresses:
        six = ":" in address
        if nftables:
            word = "ip6" if six else "ip"
            lines += [f"nft add rule {{table}} {{chain}} {word} {way} {address} notrack" for way in ("daddr", "saddr")]
        else:
            tool = "ip6tables-legacy" if six else "iptables-legacy"
            lines += [f"{tool} -t raw -A PREROUTING {way} {address} -j CT --notrack" for way in ("-d", "-s")]
    where = (
        "In a chain of your own, type filter hook prerouting priority -300 (family bridge for bridged packets): "
        if nftables
        else "pve-firewall leaves such rules alone; they are gone after a reboot unless a file sets them: "
    )
    return Alternative(
        f"NOTRACK for {', '.join(addresses[:3])} only",
        where + "; ".join(lines).replace("{table} {chain}", "TABLE CHAIN"),
        "INVALID stays dropped for everything else. Packets of that address are then matched without state: no rule "
        "accepts them as ESTABLISHED, a guest with firewall=1 and policy DROP needs rules for both directions, and "
        "NAT does not touch them. On every hypervisor of the path, and again after a reboot.",
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False)).removesuffix("/32").removesuffix("/128")
    except ValueError:
        return ""
