"""Which hypervisor carries which host of the inventory, and which virtual address. Pure.

A guest is a host of the inventory when one of its interfaces has that host's MAC address; else, where the host did not
answer, when a container's address is the one that the inventory connects to, or the guest has the host's name. How it
was told is said, because a name proves less than a MAC address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit.checks import _guests
from hostaudit.model import Collected, MappedGuest, MappedNic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.model import Host, Unreachable
    from hostaudit_agent.snapshot import Guest, GuestNic, LinkTable, Proxmox, Snapshot


class _Fleet(NamedTuple):
    macs: Mapping[str, Collected]
    hosts: Sequence[Host]
    """Those that are no hypervisor."""
    vips: Sequence[tuple[str, tuple[str, ...]]]


def guest_map(answers: Sequence[Collected | Unreachable]) -> tuple[MappedGuest, ...]:
    """Return every guest of every Proxmox node that answered, by node and VMID."""
    nodes = [(a, proxmox) for a in answers if isinstance(a, Collected) and (proxmox := _proxmox(a.snapshot))]
    if not nodes:
        return ()
    hosts = [answer.host for answer in answers]
    fleet = _Fleet(
        {mac: a for a in answers if isinstance(a, Collected) for mac in _macs(a.snapshot)},
        [host for host in hosts if host.name not in {one.host.name for one, _ in nodes}],
        [vip for host in hosts for vip in host.vips.items()],
    )
    by_name = sorted(nodes, key=lambda pair: pair[0].host.name)
    return tuple(_mapped(one, guest, proxmox, fleet) for one, proxmox in by_name for guest in proxmox.guests)


def _proxmox(snapshot: Snapshot) -> Proxmox | None:
    return snapshot.platform.proxmox if snapshot.platform else None


def _macs(snapshot: Snapshot) -> Iterator[str]:
    """Yield the MAC addresses of a host's own interfaces, except those that Proxmox made for its guests' ports."""
    for link in snapshot.link.links if snapshot.link and not _proxmox(snapshot) else []:
        if link.mac and not link.loopback and link.mac != "00:00:00:00:00:00":
            yield link.mac.lower()


def _mapped(one: Collected, guest: Guest, proxmox: Proxmox, fleet: _Fleet) -> MappedGuest:
    table = one.snapshot.link
    answered = next((fleet.macs[nic.mac] for nic in guest.nics if nic.mac in fleet.macs), None)
    name, by = (answered.host.name, "MAC address") if answered else _guess(guest, fleet.hosts)
    named = {guest.name, str(guest.vmid), name} - {""}
    carried = [vip for vip, guests in fleet.vips if named & set(guests)]
    carried += [vip for vip, _ in fleet.vips if answered and vip in _addresses(answered.snapshot)]
    return MappedGuest(
        hypervisor=one.host.name,
        vmid=guest.vmid,
        kind=guest.kind,
        name=guest.name,
        running=None if table is None else any(_guests.port(table, guest, nic) for nic in guest.nics),
        nics=tuple(_nic(guest, nic, proxmox, table) for nic in guest.nics),
        host=name,
        by=by,
        vips=tuple(dict.fromkeys(carried)),
    )


def _guess(guest: Guest, hosts: Sequence[Host]) -> tuple[str, str]:
    """Return the host that a guest seems to be, and by what, where no MAC address tells."""
    addresses = {address.partition("/")[0] for nic in guest.nics for address in nic.addresses}
    for host in hosts:
        if str(host.variables.get("ansible_host", host.name)) in addresses:
            return host.name, "address"
    for host in hosts:
        if guest.name and guest.name.lower() in {host.name.lower(), host.name.lower().partition(".")[0]}:
            return host.name, "name"
    return "", ""


def _addresses(snapshot: Snapshot) -> set[str]:
    links = snapshot.link.links if snapshot.link else []
    return {address.partition("/")[0] for link in links for address in link.addresses}


def _nic(guest: Guest, nic: GuestNic, proxmox: Proxmox, table: LinkTable | None) -> MappedNic:
    link = _guests.port(table, guest, nic) if table else None
    more: dict[str, Any] = {}
    if link is not None:
        more = {"port": link.name, "mtu": link.mtu}
    return MappedNic(
        name=f"net{nic.index}",
        mac=nic.mac,
        bridge=nic.bridge,
        tag=nic.tag,
        firewall=nic.firewall,
        filtered=_guests.filtered(proxmox, guest, nic),
        **more,
    )
