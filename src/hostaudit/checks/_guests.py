"""Guests of a Proxmox VE node: their names for people, their ports, and what the firewall does to them. Pure.

Port names are Proxmox's (pve-common, src/PVE/Network.pm): ``tap100i0``, ``veth100i0``; with ``firewall=1`` and iptables
``fwpr100p0`` on the bridge, ``fwln100i0`` and the tap on the bridge ``fwbr100i0``; on Open vSwitch ``fwln100o0``.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _links

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Guest, GuestNic, Link, LinkTable, Proxmox, Snapshot

NOT_PROXMOX = "this is no Proxmox VE node"
_PORT = re.compile(r"\b(?:tap|veth|fwbr|fwln|fwpr)(\d+)[ipo](\d+)\b")
_KINDS = {"qemu": "VM", "lxc": "CT"}
_END = re.compile(r"\s--?(?:source|dest)\s+(\S+)")
_NARROW = re.compile(r"\s--?(?:p|proto|i|dport|sport|source|dest|icmp-type)\s|\(")


def node(view: View) -> Proxmox | None:
    """Return the Proxmox part of the snapshot; ``None`` on another machine, and inside another namespace."""
    platform = view.snapshot.platform
    return platform.proxmox if platform and not view.netns else None


def unreadable(view: View, *parts: str) -> str:
    """Return why nothing can be said of the node, or of these parts of it; empty where all was read."""
    wanted = {"platform.proxmox", *(f"platform.proxmox.{part}" for part in parts)}
    return next((u.reason for u in view.unread("platform.proxmox") if u.surface in wanted), "")


def label(guest: Guest, nic: GuestNic | None = None) -> str:
    """Return ``VM 101 (worker1) net0``."""
    name = f" ({guest.name})" if guest.name else ""
    return f"{_KINDS.get(guest.kind, guest.kind)} {guest.vmid}{name}" + (f" net{nic.index}" if nic else "")


def nics(proxmox: Proxmox) -> Iterator[tuple[Guest, GuestNic]]:
    """Yield every interface of every guest, in order."""
    for guest in proxmox.guests:
        for nic in guest.nics:
            yield guest, nic


def port(table: LinkTable, guest: Guest, nic: GuestNic) -> Link | None:
    """Return the host's end of a guest's interface; ``None`` where the guest does not run."""
    return _links.named(table, f"{'veth' if guest.kind == 'lxc' else 'tap'}{guest.vmid}i{nic.index}")


def by_port(proxmox: Proxmox, name: str) -> str:
    """Return the label of the guest's interface that a port belongs to; empty for any other name."""
    match = _PORT.fullmatch(name)
    if not match:
        return ""
    found = (label(g, n) for g, n in nics(proxmox) if (g.vmid, n.index) == (int(match[1]), int(match[2])))
    return next(found, "")


def mentioned(snapshot: Snapshot, summary: str, evidence: dict[str, Any]) -> dict[str, str]:
    """Return the ports of guests that a finding speaks of, with the guest's name: ``{"tap101i0": "VM 101 ..."}``."""
    proxmox = snapshot.platform.proxmox if snapshot.platform else None
    if proxmox is None or not proxmox.guests:
        return {}
    names = dict.fromkeys(match[0] for match in _PORT.finditer(f"{summary} {json.dumps(evidence, default=str)}"))
    return {name: guest for name in names if (guest := by_port(proxmox, name))}


def filtered(proxmox: Proxmox, guest: Guest, nic: GuestNic) -> bool:
    """Say whether the guest's own rules apply to this interface (cluster, guest and interface have it on)."""
    on = proxmox.implementation in {"iptables", "nftables"}
    return on and nic.firewall and guest.firewall is not None and guest.firewall.enabled


def accepts_all(guest: Guest) -> bool:
    """Say whether incoming packets pass whatever they are: by the policy, or by a rule that nothing narrows."""
    rules = guest.firewall
    if rules is None or rules.policy_in == "ACCEPT":
        return True
    return any(not _NARROW.search(f"{rule} ") for rule in rules.accepts)


def accepts_flows(guest: Guest, addresses: Collection[str]) -> bool:
    """Say whether a rule of the guest accepts what comes from, or goes to, each of these addresses; none: no."""
    accepts = guest.firewall.accepts if guest.firewall else []
    named = [network for rule in accepts for text in _END.findall(rule) if (network := _network(text))]
    wanted = [_network(text) for text in addresses]
    return bool(wanted) and all(
        one is not None and any(one.version == n.version and one.subnet_of(n) for n in named)  # type: ignore[arg-type] # same version
        for one in wanted
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return an address of a rule; ``None`` for a set, an alias or a range, whose content it does not show."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def meeting(snapshot: Snapshot, skipped: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return the interfaces whose packets meet the rules for bridged packets, and how often; those that run first.

    ``skipped`` says of a bridge that br_netfilter leaves its guests' packets alone. With nftables only interfaces with
    a filter of their own are filtered, once.
    """
    proxmox = snapshot.platform.proxmox if snapshot.platform else None
    found: list[dict[str, Any]] = []
    for guest, nic in nics(proxmox) if proxmox else ():
        if proxmox is not None and proxmox.implementation == "nftables":
            times = int(filtered(proxmox, guest, nic))
        else:
            times = int(nic.firewall) + (not skipped(nic.bridge))
        if times:
            runs = snapshot.link is not None and port(snapshot.link, guest, nic) is not None
            found.append({"guest": label(guest, nic), "bridge": nic.bridge, "passes": times, "runs": runs})
    return sorted(found, key=lambda one: not one["runs"])
