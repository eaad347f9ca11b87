"""The networks of pods and containers contain no address of another machine.

What it reads
    The routes of each host that lead to pods or containers (cni0, flannel, Calico, Cilium, Docker's bridges and their
    like), beside the addresses, networks, routers and name servers of all other hosts of the run.

Why it matters
    A node sends to its own pods whatever lies in their network: another machine with such an address answers
    everybody but this node. The defaults are wide (Cilium 10.0.0.0/8, Docker 172.17.0.0/16 and the next fourteen), and
    the overlap stays hidden until a node has to reach just that machine: a firewall, a name server, a new subnet.

Active when
    Never: what the routes do is certain, and whether anybody sends there now is not counted. It is high where an
    address that exists is taken away, medium where only a network overlaps. A more specific route that wins is no
    finding; nor are machines that are containers themselves.

How it is remedied
    Other addresses for the pods, or for the machine. For one address a route of its own helps until then: ``ip route
    add ADDRESS/32 via ROUTER``. Docker: ``bip`` and ``default-address-pools`` in daemon.json.

Fix safety
    Renumbering pods restarts all of them; plan it as a migration. The single route is harmless.

References
    https://docs.cilium.io/en/stable/network/concepts/ipam/cluster-pool/
    https://docs.docker.com/engine/daemon/ipv6/
    https://kubernetes.io/docs/concepts/cluster-administration/networking/
"""

from __future__ import annotations

import bisect
import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _fib, _foreign, fleet_check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.checks import Fleet, View
    from hostaudit.model import Finding

_MOST = 16


@fleet_check(reads=("route", "link"), severity=Severity.MEDIUM)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Compare each host's networks of pods with what all others have."""
    targets = sorted({one for view in fleet.views for one in _foreign.targets(view)})
    numbers = [one.number for one in targets]
    subnets = [(view.host.name, network) for view in fleet.views for network in _foreign.subnets(view)]
    return [replace(_one(view, targets, numbers, subnets), host=view.host.name) for view in fleet.views]


def _one(
    view: View,
    targets: Sequence[_foreign.Target],
    numbers: Sequence[int],
    subnets: Sequence[tuple[str, ipaddress.IPv4Network]],
) -> Finding:
    table, links = view.snapshot.route, view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    assert links is not None  # noqa: S101 - reads
    given = {
        r.destination
        for r in table.routes
        if _foreign.PODS.fullmatch(r.device) and r.kind == "unicast" and r.family == 4
    }
    pods = list(ipaddress.collapse_addresses([n for text in given if (n := _fib.network(text)) and n.prefixlen]))
    if not pods:
        return not_applicable("no route of this host leads to pods or containers")
    fib, own = _fib.Fib(table), _fib.own(links)
    if not fib.whole:
        return unknown("the routes of this host are too many to be read in full")
    mine: dict[str, dict[str, Any]] = {}
    for network in pods:
        first, last = int(network.network_address), int(network.broadcast_address)
        for one in targets[bisect.bisect_left(numbers, first) : bisect.bisect_right(numbers, last)]:
            other = ipaddress.IPv4Address(one.number)
            if one.host != view.host.name and other not in own and (route := _foreign.taken(fib, other)):
                mine.setdefault(str(other), {"is": f"{one.what} of {one.host}", "route": route})
    overlaps = list(_foreign.overlaps(view, pods, subnets, fib)) if not mine else []
    evidence = {"pods": [str(n) for n in pods[:_MOST]], "taken": dict(list(mine.items())[:_MOST]), "number": len(mine)}
    if not mine and not overlaps:
        return passed("the networks of pods are nobody else's", **evidence)
    if mine:
        address, row = next(iter(mine.items()))
        summary = f"packets to {address} ({row['is']})"[:58] + " go to pods"
    else:
        address = str(overlaps[0]["example"])
        summary = f"pods have a part of {overlaps[0]['network']}, which {overlaps[0]['host']} is on"[:78]
        evidence["overlaps"] = overlaps[:_MOST]
    return view.fail(
        Grade.RISK,
        summary,
        severity=Severity.HIGH if mine else Severity.MEDIUM,
        evidence=evidence,
        reproduce=f"ip route get {address}; ip -4 route show",
        disproof="`ip route get` leads to the network and not to an interface of pods.",
        advice=(
            f"Give the pods other addresses. Until then, for {address} alone: `ip route add {address}/32 via ROUTER`, "
            "in the network's configuration so that it survives a reboot."
        ),
        cause="the network of pods contains addresses of other machines",
    )
