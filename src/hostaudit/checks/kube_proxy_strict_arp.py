"""Only the node that owns a Service's address answers ARP for it (IPVS with strict ARP).

What it reads
    The interface kube-ipvs0, on which kube-proxy in IPVS mode puts every Service address of the cluster; the
    effective ``arp_ignore`` and ``arp_announce`` of the interfaces towards the network; the neighbour tables of all
    hosts of the run.

Why it matters
    Linux answers ARP on any interface for any address that it has (arp_ignore 0). So every node answers for a load
    balancer's address, and each client talks to whichever was heard last, while MetalLB, Cilium or kube-vip believe
    that the one node that they chose gets the traffic. With externalTrafficPolicy Local it is lost there.

Active when
    Neighbour entries that are in use hold the MAC addresses of two different nodes for one such address. Else it is a
    risk, and only where an address of kube-ipvs0 lies in a network that a neighbour would ask for on the wire, or is
    declared in ``hostaudit_vips``: cluster addresses that nobody asks for do no harm.

How it is remedied
    ``ipvs.strictARP: true`` in kube-proxy's ConfigMap: kube-proxy then sets arp_ignore 1 and arp_announce 2 on
    conf.all when it starts. A sysctl.d line does the same, and is the second owner of one knob.

Fix safety
    Nodes stop answering for addresses that are not on the interface asked; whoever relied on that, an address on lo
    with no announcer, becomes unreachable. Entries of neighbours that learned another node stay until they age.

References
    https://metallb.io/installation/#preparation
    https://docs.kernel.org/networking/ip-sysctl.html
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _links, _say, fleet_check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet, View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Link, LinkTable

DEVICE = "kube-ipvs0"
WANTED = {"arp_ignore": 1, "arp_announce": 2}


@fleet_check(reads=("link", "sysctl"), severity=Severity.MEDIUM)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Look at each node that has the interface."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    nodes: dict[str, tuple[View, Link]] = {}
    for view in fleet.views:
        assert view.snapshot.link is not None  # noqa: S101 - reads
        if link := _links.named(view.snapshot.link, DEVICE):
            nodes[view.host.name] = (view, link)
    macs = {link.mac: name for name, (view, _) in nodes.items() for link in _table(view).links if link.mac}
    for view in fleet.views:
        for entry in view.snapshot.neighbour.entries if view.snapshot.neighbour else ():
            if entry.mac in macs and entry.state not in ("STALE", "PERMANENT"):
                answers[entry.address][view.host.name] = macs[entry.mac]
    return [replace(_one(view, answers), host=view.host.name) for view in fleet.views]


def _table(view: View) -> LinkTable:
    assert view.snapshot.link is not None  # noqa: S101 - reads
    return view.snapshot.link


def _one(view: View, answers: dict[str, dict[str, str]]) -> Finding:
    table, sysctl = _table(view), view.snapshot.sysctl
    assert sysctl is not None  # noqa: S101 - reads
    link = _links.named(table, DEVICE)
    if link is None:
        return not_applicable(f"kube-proxy does not run in IPVS mode here: no {DEVICE}")
    asked = _asked_for(view, table, link)
    loose = {}
    for out in _links.outward(table):
        values = {knob: _effective(view, knob, out.name) for knob in WANTED}
        if None in values.values():
            return unknown(f"arp_ignore and arp_announce of {out.name} were not read")
        if any((values[knob] or 0) < least for knob, least in WANTED.items()):
            loose[out.name] = values
    twice = {a: by for a in asked if len(set((by := answers.get(a, {})).values())) > 1}
    evidence: dict[str, Any] = {
        "addresses": len(link.addresses),
        "asked_for": asked[:16],
        "loose": loose,
        "answered_by": twice,
    }
    if not loose:
        return passed("ARP is strict on every interface towards the network", **evidence)
    if not asked:
        return passed(f"no neighbour asks for the {len(link.addresses)} Service addresses of this node", **evidence)
    first = next(iter(twice or asked))
    return view.fail(
        Grade.ACTIVE if twice else Grade.RISK,
        f"{len(set(twice[first].values()))} nodes answer ARP for {first}" if twice else f"answers ARP for {first}",
        severity=Severity.HIGH if twice else None,
        evidence=evidence,
        reproduce=f"ip -br addr show {DEVICE}; sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce; "
        f"arping -D -c 3 -I {_say.quote(next(iter(loose)))} {first}",
        disproof="`arping -D` from another machine is answered by one MAC address only.",
        owner="kube-proxy",
        advice=(
            "Set `ipvs.strictARP: true` in kube-proxy's ConfigMap and restart its pods; it writes arp_ignore 1 and "
            "arp_announce 2 when it starts. Then delete the entries of neighbours that learned the wrong node."
        ),
        cause="IPVS without strict ARP",
    )


def _effective(view: View, knob: str, name: str) -> int | None:
    sysctl = view.snapshot.sysctl
    found = sysctl.effective.get(knob, {}).get(name) if sysctl else None
    return _say.number(sysctl, f"net.ipv4.conf.all.{knob}") if found is None else found


def _asked_for(view: View, table: LinkTable, link: Link) -> list[str]:
    """Return the addresses of kube-ipvs0 for which somebody on the wire asks."""
    networks = [network for out in _links.outward(table) if out.name != DEVICE for network in _links.networks(out)]
    found = []
    for text in link.addresses:
        address = ipaddress.ip_interface(text).ip
        if address.version == 4 and (str(address) in view.host.vips or any(address in one for one in networks)):
            found.append(str(address))
    return found
