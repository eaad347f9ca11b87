"""No guest's address filter drops the virtual addresses that the guest answers for.

What it reads
    The guests of a Proxmox VE node: ``ipfilter`` and the sets ``ipfilter-net<N>`` of their ``<VMID>.fw``, and which
    interfaces have ``firewall=1``; the virtual addresses of the inventory, ``hostaudit_vips``: a list, or a table from
    address to the guests (names or VMIDs) that answer for it.

Why it matters
    A backend of direct server return, a node of kube-vip or MetalLB and a VRRP master send packets from an address
    that is not their own. Proxmox's address filter drops them, and the ARP replies for that address with them: the
    VIP works on the guests without the filter and is silent on the one with it. ``macfilter`` is no problem, because
    the VIP uses the interface's own MAC. With iptables a set ``ipfilter-net<N>`` filters whether the option
    ``ipfilter`` is on or not; with nftables only where it is on.

Active when
    Never: the counters of the guests' own chains are not read. It is a risk, medium where the inventory names the
    guest for that address, low where it names no guest for it.

How it is remedied
    By hand: the address in the set ``ipfilter-net<N>`` of the guest's firewall, beside the guest's own addresses. A
    set that is made for the VIP alone would lock out the guest's own address: it replaces the implied one.

Fix safety
    The guest may then use that address as well, whoever else has it: give it to the backends only, not to a security
    group that others share. Within 10 s; nothing is restarted.

References
    https://pve.proxmox.com/wiki/Firewall
    https://metallb.io/concepts/layer2/
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _guests, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Guest, GuestNic, Proxmox

Address = ipaddress.IPv4Network | ipaddress.IPv6Network


@check(reads=("platform",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare each guest's filter with the virtual addresses that it may have to answer for."""
    node = _guests.node(view)
    if node is None:
        return not_applicable(_guests.NOT_PROXMOX)
    if why := _guests.unreadable(view, "guests", "options"):
        return unknown(why)
    if not view.host.vips:
        return not_applicable("the inventory names no virtual address (hostaudit_vips)")
    vips = {}
    for text, guests in view.host.vips.items():
        try:
            vips[ipaddress.ip_network(text, strict=False)] = guests
        except ValueError:
            return unknown(f"hostaudit_vips: {text!r} is no address")
    dropped = sorted(_dropped(node, vips), key=lambda row: not row["named"])
    evidence = {"vips": sorted(view.host.vips), "drops": dropped}
    if not dropped:
        return passed("no address filter of a guest drops a virtual address", **evidence)
    first = dropped[0]
    more = f" (and {len(dropped) - 1} more)" if len(dropped) > 1 else ""
    name = first["guest"] if len(first["guest"]) <= 30 else first["guest"][:27] + "..."
    return view.fail(
        Grade.RISK,
        f"ipfilter of {name} drops {first['vip']}{more}",
        severity=Severity.MEDIUM if first["named"] else Severity.LOW,
        evidence=evidence,
        reproduce=f"cat /etc/pve/firewall/{first['vmid']}.fw; ipset list | grep -A 20 -- {first['vmid']}-ipfilter",
        disproof="A capture on the bridge shows packets of that guest from the virtual address.",
        owner=owners.firewall(view.snapshot.platform),
        advice=(
            "Add the address to the set ipfilter-net<N> of each guest that answers for it, below `[IPSET "
            "ipfilter-net<N>]` of its file, beside the guest's own addresses.\n"
            "Where no guest is named, say which ones answer: hostaudit_vips as a table, address to guests."
        ),
        cause="address filters of guests drop virtual addresses",
    )


def _dropped(node: Proxmox, vips: dict[Address, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    for guest, nic in _guests.nics(node):
        if not _guests.filtered(node, guest, nic) or not _filters(node, guest, nic):
            continue
        for vip, named in vips.items():
            mine = {guest.name, str(guest.vmid)} & set(named)
            if (mine or not named) and not _let(nic, vip):
                yield {
                    "guest": _guests.label(guest, nic),
                    "vmid": guest.vmid,
                    "vip": str(vip.network_address if vip.num_addresses == 1 else vip),
                    "set": nic.ipfilter,
                    "named": bool(mine),
                }


def _filters(node: Proxmox, guest: Guest, nic: GuestNic) -> bool:
    assert guest.firewall is not None  # noqa: S101 - filtered
    by_set = node.implementation == "iptables" and nic.ipfilter is not None
    return guest.firewall.ipfilter or by_set


def _let(nic: GuestNic, vip: Address) -> bool:
    """Say whether the set holds the address; a name that could not be resolved is believed to."""
    let = False
    for entry in nic.ipfilter or []:
        try:
            network = ipaddress.ip_network(entry.lstrip("! "), strict=False)
        except ValueError:
            let = True
            continue
        if network.version == vip.version and vip.subnet_of(network):  # type: ignore[arg-type] # same version
            if entry.startswith("!"):
                return False
            let = True
    return let
