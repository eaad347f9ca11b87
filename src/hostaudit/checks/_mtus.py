"""Interfaces of one host that should have one MTU and have not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.checks import _links

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit_agent.snapshot import Link, LinkTable


@dataclass(frozen=True)
class Fault:
    """``link`` has ``mtu`` where ``other`` has ``should``: bytes."""

    link: str
    mtu: int
    other: str
    should: int
    kind: str
    """``bond``, ``vlan``, ``peers``, or of a bridge: ``port``, ``guest``, ``beside``, ``above``."""

    @property
    def summary(self) -> str:
        """What is seen, in a line."""
        return _SAYS[self.kind].format(f=self)


_SAYS = {
    "port": "port {f.link} has MTU {f.mtu}, its bridge {f.other} {f.should}",
    "guest": "guest port {f.link} has MTU {f.mtu}, the uplink {f.other} {f.should}",
    "beside": "guest port {f.link} has MTU {f.mtu}, {f.other} on the same bridge {f.should}",
    "above": "guest port {f.link} has MTU {f.mtu}, its bridge {f.other} {f.should}",
    "bond": "slave {f.link} has MTU {f.mtu}, its bond {f.other} {f.should}",
    "vlan": "{f.link} has MTU {f.mtu}, its parent {f.other} {f.should}",
    "peers": "{f.link} has MTU {f.mtu}, most hosts on {f.other} {f.should}",
}


def bridges(table: LinkTable) -> Iterator[Fault]:
    """Compare bridges and bonds with their ports."""
    for bridge in _links.up(table):
        ports = _links.ports(table, bridge.name)
        if bridge.kind == "bond":
            yield from (Fault(p.name, p.mtu, bridge.name, bridge.mtu, "bond") for p in ports if p.mtu < bridge.mtu)
        if bridge.kind != "bridge" or _links.private(table, bridge):
            continue
        yield from (Fault(p.name, p.mtu, bridge.name, bridge.mtu, "port") for p in ports if p.mtu < bridge.mtu)
        if not any(p.mtu < bridge.mtu for p in ports):
            yield from _guests(bridge, ports)


def _guests(bridge: Link, ports: Sequence[Link]) -> Iterator[Fault]:
    """Compare guests' ports with what is least there.

    A bridge that was given no MTU takes that of its smallest port: br_mtu_auto_adjust() in net/bridge/br_if.c.
    """
    guests = [p for p in ports if p.kind in _links.GUEST_KINDS]
    uplinks = [p for p in ports if p.kind not in _links.GUEST_KINDS]
    least = min((*uplinks, *guests, bridge), key=lambda link: link.mtu)  # of equals the first
    kind = "guest" if least in uplinks else "above" if least is bridge else "beside"
    yield from (Fault(p.name, p.mtu, least.name, least.mtu, kind) for p in guests if p.mtu > least.mtu)


def parents(table: LinkTable) -> Iterator[Fault]:
    """Compare VLAN interfaces and macvlans with what they stand on."""
    for link in _links.up(table):
        parent = _links.named(table, link.underlay) if link.kind in {"vlan", "macvlan"} else None
        if parent and not link.peer_elsewhere and link.mtu > parent.mtu:
            yield Fault(link.name, link.mtu, parent.name, parent.mtu, "vlan")


def advice(kinds: set[str]) -> str:
    """Return what to do about faults of these kinds."""
    parts = []
    if kinds & {"beside", "above"}:
        parts.append("A bridge that was given no MTU takes that of its smallest port, for the host's own traffic too.")
    if kinds & {"port", "guest", "beside", "above"}:
        parts.append(
            "A guest's port keeps the MTU of the moment it was plugged in: unplug and plug it (Proxmox: edit the NIC, "
            "or restart the guest), and set the same MTU inside the guest."
        )
    if kinds & {"bond", "vlan"}:
        parts.append("Raise the lower interface first: bond, its slaves, then VLANs and bridges above it.")
    if "peers" in kinds:
        parts.append("Give the interface the MTU of its peers, after the switch's port has it.")
    return " ".join(parts)
