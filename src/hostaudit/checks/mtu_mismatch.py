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

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _links, _mtus, _say, check, passed
from hostaudit.cohort import norm
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("link",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Collect every pair of interfaces that should have one MTU and has not."""
    table = view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    faults = [*_mtus.bridges(table), *_mtus.parents(table), *_peers(view)]
    if not faults:
        return passed(f"the MTUs of {_say.plural(len(_links.up(table)), 'interface')} agree")
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    outliers = {fault.link: fault.should for fault in faults if fault.kind == "peers"}
    return view.fail(
        Grade.RISK,
        first.summary + more,
        evidence={"mismatches": [_as_evidence(fault) for fault in faults]},
        reproduce=_say.shell(view, "ip -d link show"),
        disproof="A ping with DF set and the larger size (`ping -M do -s MTU-28`) gets through between both ends.",
        remedy=Remedy("link_mtu", {"link_mtu_links": outliers}) if outliers and not view.netns else None,
        advice=_mtus.advice({fault.kind for fault in faults}),
        cause=f"MTU mismatch: {', '.join(sorted({fault.kind for fault in faults}))}",
    )


def _peers(view: View) -> Iterator[_mtus.Fault]:
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
            yield _mtus.Fault(link.name, link.mtu, network, usual, "peers")


def _sizes(views: Iterable[View]) -> dict[str, tuple[dict[str, int], int | None]]:
    """Return, per network, the MTU of each host's first interface there, and the norm of them."""
    found: dict[str, dict[str, int]] = {}
    for view in views:
        for link, network in _links.segments(view.snapshot.link) if view.snapshot.link else ():
            found.setdefault(network, {}).setdefault(view.host.name, link.mtu)
    return {network: (sizes, norm(sizes)) for network, sizes in found.items()}


def _as_evidence(fault: _mtus.Fault) -> dict[str, Any]:
    return {"interface": fault.link, "mtu": fault.mtu, "compared_with": fault.other, "mtu_there": fault.should}
