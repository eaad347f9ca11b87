"""The hosts of a trace: what their ports are, and whether their sensors heard everything. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hostaudit.checks import _guests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.model import Host, MappedGuest
    from hostaudit_agent.capture.answer import Capture
    from hostaudit_agent.snapshot import Link

_GUEST = re.compile(r"(?:tap|veth|vnet|vif|lxc|cali|cni|tun)\w*\d\w*")
"""Proxmox's and libvirt's taps, containers' ends: tap101i0, veth101i0, vnet3, lxc1234abcd, cali1234abcd."""
_VMID = re.compile(r"(?:tap|veth|fwpr|fwln)(\d+)[ipo](\d+)")
_INSIDE = re.compile(r"fw(?:ln|pr)\d+[op]\d+|fwln\d+i\d+")
_TUNNELS = frozenset({"vxlan", "geneve", "wireguard", "ipip", "sit", "gre", "gretap", "ip6tnl"})
CUT_SHORT = {"packets": "its bound of packets", "bytes": "its bound of bytes", "time": "its time"}


class Role(StrEnum):
    """What a port is for a packet's way through its host."""

    GUEST = "guest"
    UPLINK = "uplink"
    TUNNEL = "tunnel"
    INSIDE = "inside"
    """Both ends are in this host (Proxmox's fwln and fwpr), or it is a bridge itself: passing it is no way out. A
    bridge's own device shows a frame before the forward filter drops it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One host of the trace."""

    host: Host
    capture: Capture | None = None
    reason: str = ""
    """Why it has no capture."""
    guests: dict[str, str] = field(default_factory=dict)
    """Port -> the guest behind it, ``VM 101 (worker1)``."""

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self.host.name

    @property
    def deaf(self) -> str:
        """Why there is no sensor here; empty where there was one."""
        if self.capture is None:
            return self.reason or "not reached"
        return "" if self.capture.heard else self.capture.refused or "it did not listen"

    @property
    def incomplete(self) -> str:
        """Why the sensor missed frames; empty where it heard all of them."""
        heard = self.capture.heard if self.capture else None
        if heard is None:
            return ""
        if heard.drops:
            return f"the kernel dropped {heard.drops} frames of its sensor"
        return f"its sensor ended by {CUT_SHORT[heard.ended]}" if heard.ended in CUT_SHORT else ""

    @property
    def addresses(self) -> frozenset[str]:
        """Addresses of the host's own interfaces."""
        links = self._links
        return frozenset(a.partition("/")[0] for link in links for a in link.addresses)

    @property
    def _links(self) -> Sequence[Link]:
        table = self.capture.snapshot.link if self.capture else None
        return table.links if table else []

    def roles(self) -> dict[str, Role]:
        """Return the role of every port."""
        return {link.name: _role(link) for link in self._links}

    def behind(self, device: str) -> str:
        """Return who is behind a guest's port, in words."""
        if device in self.guests:
            return self.guests[device]
        match = _VMID.fullmatch(device)
        return f"guest {match[1]}" if match else f"the guest on {device}"


def nodes(captures: Sequence[Node], guests: Sequence[MappedGuest]) -> tuple[Node, ...]:
    """Return the nodes with the names of their guests, by name of the host."""
    named = [Node(n.host, n.capture, n.reason, _names(n, guests)) for n in captures]
    return tuple(sorted(named, key=lambda node: node.name))


def role_of(name: str) -> Role:
    """Return the role of a port of which only the name is known."""
    if _INSIDE.fullmatch(name):
        return Role.INSIDE
    return Role.GUEST if _GUEST.fullmatch(name) else Role.UPLINK


def _role(link: Link) -> Role:
    by_name = role_of(link.name)
    if link.loopback or link.kind == "bridge" or by_name is Role.INSIDE:
        return Role.INSIDE
    if link.kind in _TUNNELS:
        return Role.TUNNEL
    if link.kind == "veth" and not link.peer_elsewhere:
        return Role.INSIDE
    return by_name


def _names(node: Node, guests: Sequence[MappedGuest]) -> dict[str, str]:
    found: dict[str, str] = {}
    platform = node.capture.snapshot.platform if node.capture else None
    for port in node.roles():
        label = _guests.by_port(platform.proxmox, port) if platform and platform.proxmox else ""
        if label:
            found[port] = label.rpartition(" net")[0]
    for guest in guests:
        for nic in guest.nics:
            if guest.hypervisor == node.name and nic.port in found and guest.host:
                found[nic.port] = _named(found[nic.port], guest.host)
    return found


def _named(label: str, host: str) -> str:
    return label if f"({host})" in label else f"{label} = {host}"
