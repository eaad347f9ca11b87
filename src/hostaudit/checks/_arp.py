"""What the checks of ARP probes have in common. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _probe, _say

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding
    from hostaudit.probed import Arp


def answered(fleet: Fleet) -> dict[str, list[Arp]]:
    """Return the probes that could be sent, by address."""
    found: dict[str, list[Arp]] = {}
    for one in _probe.seen(fleet).arp:
        if not one.error and not one.mine:
            found.setdefault(one.address, []).append(one)
    return found


def unknown(fleet: Fleet) -> list[Finding]:
    """Return a finding for each address that no vantage point could ask about."""
    groups: dict[str, list[Arp]] = {}
    for one in _probe.seen(fleet).arp:
        groups.setdefault(one.address, []).append(one)
    findings = []
    for address, members in groups.items():
        if address not in answered(fleet):
            why = next((one.error for one in members if one.error), "every vantage point has the address itself")
            findings.append(_probe.not_known(f"{address}: {why}", (one.vantage for one in members)))
    return findings


def evidence(members: list[Arp]) -> list[dict[str, Any]]:
    """Return who was heard, from where."""
    return [
        {
            "from": one.vantage,
            "interface": one.interface,
            "asked": one.asked,
            "changes": one.changes,
            "owners": {owner.mac: owner.replies for owner in one.owners},
        }
        for one in members
    ]


def known(fleet: Fleet, macs: list[str]) -> dict[str, str]:
    """Return MAC address -> ``HOST INTERFACE``, or the guest, for those that hosts of this run know as their own."""
    found: dict[str, str] = {}
    for view in fleet.views:
        for link in view.snapshot.link.links if view.snapshot.link else ():
            if link.mac in macs and link.kind != "bridge":
                found.setdefault(link.mac, f"{view.host.name} {link.name}")
        node = view.snapshot.platform.proxmox if view.snapshot.platform else None
        for guest in node.guests if node else ():
            for nic in guest.nics:
                if nic.mac.lower() in macs:
                    found[nic.mac.lower()] = f"guest {guest.name} ({guest.vmid}) of {view.host.name}"
    return found


def command(one: Arp) -> str:
    """Return the command that asks the same."""
    return f"arping -D -I {_say.quote(one.interface)} -c 3 {_say.quote(one.address)}"
