"""How the interfaces of a host hang together. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit_agent.snapshot import Link, LinkTable

GUEST_KINDS = frozenset({"veth", "tun"})
"""What a guest's or container's end looks like from the host; rtnetlink calls a tap ``tun`` too."""
OVERLAYS = frozenset({"vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "sit", "ip6tnl"})
SEGMENT_KINDS = frozenset({"", "bond", "team", "vlan", "bridge", "macvlan"})
"""Kinds that stand on a shared layer-2 segment with other hosts."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def up(table: LinkTable) -> list[Link]:
    """Return the interfaces that are up, without loopback."""
    return [link for link in table.links if link.up and not link.loopback]


def named(table: LinkTable, name: str) -> Link | None:
    """Return the interface of that name."""
    return next((link for link in table.links if link.name == name), None)


def ports(table: LinkTable, bridge: str) -> list[Link]:
    """Return the ports of a bridge (or the slaves of a bond) that are up."""
    return [link for link in up(table) if link.master == bridge]


def private(table: LinkTable, bridge: Link) -> bool:
    """Say whether a bridge only serves guests of this host, which reach the world by routing.

    So stand docker0, virbr0 and cni0: an address of their own, no port but guests, and no default route over them.
    """
    only_guests = all(port.kind in GUEST_KINDS for port in ports(table, bridge.name))
    return only_guests and bool(networks(bridge)) and bridge.name not in table.default_via


def switching(table: LinkTable) -> list[Link]:
    """Return the bridges that can carry a packet from one port to another: up, with two ports up."""
    return [link for link in up(table) if link.kind == "bridge" and len(ports(table, link.name)) > 1]


def networks(link: Link) -> list[Network]:
    """Return the networks of an interface's addresses, without link-local ones and single addresses."""
    return [network for text in link.addresses if (network := _shared(text)) is not None]


@lru_cache(maxsize=1 << 14)
def _shared(text: str) -> Network | None:
    """Return the network of an address; ``None`` where no other machine can be. Several checks ask for each."""
    try:
        network = ipaddress.ip_interface(text).network
    except ValueError:
        return None
    return None if network.is_link_local or network.num_addresses == 1 else network


@lru_cache(maxsize=1 << 14)
def _said(network: Network) -> str:
    return str(network)


def segments(table: LinkTable) -> list[tuple[Link, str]]:
    """Return the interfaces that stand on a segment with other hosts, with each IP network that they have there."""
    shared = [link for link in up(table) if link.kind in SEGMENT_KINDS]
    shared = [link for link in shared if not (link.kind == "bridge" and private(table, link))]
    return [(link, _said(network)) for link in shared for network in networks(link)]


def outward(table: LinkTable) -> list[Link]:
    """Return the interfaces with an IPv4 address by which this host meets other machines."""
    found = []
    for link in up(table):
        if any("." in address for address in link.addresses) and (link.kind in SEGMENT_KINDS or _of_container(link)):
            if link.kind == "bridge" and private(table, link):
                continue
            found.append(link)
    return found


def _of_container(link: Link) -> bool:
    """Say whether this is the way out of a container: the inner end of a veth, with a network of its own."""
    return link.kind == "veth" and link.peer_elsewhere and not link.master and bool(networks(link))
