"""Interfaces that share a layer-2 segment have the same MTU.

What it reads
    The MTU of every interface that is up, bridges and bonds with their ports, VLAN interfaces and their parents; and
    the MTU of the other hosts of the cohort on the same IP network.

Why it matters
    Nobody answers "fragmentation needed" on layer 2: a frame that is too large for a port is dropped in silence, and
    with bridge-nf-call off no counter of the host moves. Ping and TCP handshakes work, large answers hang. On Proxmox
    a guest's tap or veth takes the bridge's MTU when it is plugged in: changing the bridge later leaves it behind.

Active when
    Never: comparing MTUs shows that it can happen. It is a risk where a port is smaller than its bridge or bond, a
    guest's port is larger than its bridge, the bridge's uplink or another guest's port (a bridge that was given no MTU
    takes the least), a VLAN interface is larger than its parent, or this host differs from the clear majority (of three
    hosts or more) on one IP network. An uplink larger than its bridge is in order; loopback, interfaces that are down,
    and bridges that only serve containers of this host are left out.

How it is remedied
    Role ``link_mtu`` where this host differs from its peers. For the ports of guests the advice says how: they are
    made again by Proxmox or libvirt, and a file would not know them.

Fix safety
    Changing an interface's MTU can flap its carrier for a second, and larger than the switch's port it makes things
    worse: set the switch first when raising, last when lowering.

References
    https://docs.kernel.org/networking/bridge.html
    https://pve.proxmox.com/wiki/Network_Configuration
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _links, _say, check, passed
from hostaudit.cohort import norm
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Link, LinkTable


@dataclass(frozen=True)
class _Fault:
    link: str
    mtu: int
    other: str
    should: int
    kind: str
    """``bond``, ``vlan``, ``peers``, or of a bridge: ``port``, ``guest``, ``beside``, ``above``."""


_SAYS = {
    "port": "port {f.link} has MTU {f.mtu}, its bridge {f.other} {f.should}",
    "guest": "guest port {f.link} has MTU {f.mtu}, the uplink {f.other} {f.should}",
    "beside": "guest port {f.link} has MTU {f.mtu}, {f.other} on the same bridge {f.should}",
    "above": "guest port {f.link} has MTU {f.mtu}, its bridge {f.other} {f.should}",
    "bond": "slave {f.link} has MTU {f.mtu}, its bond {f.other} {f.should}",
    "vlan": "{f.link} has MTU {f.mtu}, its parent {f.other} {f.should}",
    "peers": "{f.link} has MTU {f.mtu}, most hosts on {f.other} {f.should}",
}


@check(reads=("link",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Collect every pair of interfaces that should have one MTU and has not."""
    table = view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    faults = [*_bridges(table), *_parents(table), *_peers(view)]
    if not faults:
        return passed(f"the MTUs of {_say.plural(len(_links.up(table)), 'interface')} agree")
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    outliers = {fault.link: fault.should for fault in faults if fault.kind == "peers"}
    return view.fail(
        Grade.RISK,
        _SAYS[first.kind].format(f=first) + more,
        evidence={"mismatches": [_as_evidence(fault) for fault in faults]},
        reproduce=_say.shell(view, "ip -d link show"),
        disproof="A ping with DF set and the larger size (`ping -M do -s MTU-28`) gets through between both ends.",
        remedy=Remedy("link_mtu", {"link_mtu_links": outliers}) if outliers and not view.netns else None,
        advice=_advice({fault.kind for fault in faults}),
        cause=f"MTU mismatch: {', '.join(sorted({fault.kind for fault in faults}))}",
    )


def _bridges(table: LinkTable) -> Iterator[_Fault]:
    for bridge in _links.up(table):
        ports = _links.ports(table, bridge.name)
        if bridge.kind == "bond":
            yield from (_Fault(p.name, p.mtu, bridge.name, bridge.mtu, "bond") for p in ports if p.mtu < bridge.mtu)
        if bridge.kind != "bridge" or _links.private(table, bridge):
            continue
        yield from (_Fault(p.name, p.mtu, bridge.name, bridge.mtu, "port") for p in ports if p.mtu < bridge.mtu)
        if not any(p.mtu < bridge.mtu for p in ports):
            yield from _guests(bridge, ports)


def _guests(bridge: Link, ports: Sequence[Link]) -> Iterator[_Fault]:
    """Compare guests' ports with what is least there.

    A bridge that was given no MTU takes that of its smallest port: br_mtu_auto_adjust() in net/bridge/br_if.c.
    """
    guests = [p for p in ports if p.kind in _links.GUEST_KINDS]
    uplinks = [p for p in ports if p.kind not in _links.GUEST_KINDS]
    least = min((*uplinks, *guests, bridge), key=lambda link: link.mtu)  # of equals the first
    kind = "guest" if least in uplinks else "above" if least is bridge else "beside"
    yield from (_Fault(p.name, p.mtu, least.name, least.mtu, kind) for p in guests if p.mtu > least.mtu)


def _parents(table: LinkTable) -> Iterator[_Fault]:
    for link in _links.up(table):
        parent = _links.named(table, link.underlay) if link.kind in {"vlan", "macvlan"} else None
        if parent and not link.peer_elsewhere and link.mtu > parent.mtu:
            yield _Fault(link.name, link.mtu, parent.name, parent.mtu, "vlan")


def _peers(view: View) -> Iterator[_Fault]:
    """Compare with the hosts of the cohort on each IP network that this host stands on."""
    assert view.snapshot.link is not None  # noqa: S101 - reads
    if not view.peers:
        return
    if not view.memo:
        view.memo.update(_sizes((view, *view.peers)))
    for link, network in _links.segments(view.snapshot.link):
        sizes, usual = view.memo[network]
        if sizes[view.host.name] != link.mtu:  # it stands there with two interfaces
            usual = norm(sizes | {view.host.name: link.mtu})
        if usual is not None and usual != link.mtu:
            yield _Fault(link.name, link.mtu, network, usual, "peers")


def _sizes(views: Iterable[View]) -> dict[str, tuple[dict[str, int], int | None]]:
    """Return, per network, the MTU of each host's first interface there, and the norm of them."""
    found: dict[str, dict[str, int]] = {}
    for view in views:
        for link, network in _links.segments(view.snapshot.link) if view.snapshot.link else ():
            found.setdefault(network, {}).setdefault(view.host.name, link.mtu)
    return {network: (sizes, norm(sizes)) for network, sizes in found.items()}


def _as_evidence(fault: _Fault) -> dict[str, Any]:
    return {"interface": fault.link, "mtu": fault.mtu, "compared_with": fault.other, "mtu_there": fault.should}


def _advice(kinds: set[str]) -> str:
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
