"""Every tunnel leaves room for its own headers on the link below it.

What it reads
    Tunnels that are up, their MTU, the interface that carries them and its MTU, and the bytes that the encapsulation
    adds (VXLAN 50 over IPv4 and 70 over IPv6, WireGuard 60 and 80, GRE 24, IPIP 20).

Why it matters
    A tunnel of 1500 on a link of 1500 makes every full packet too large. It is fragmented, which firewalls and load
    balancers drop, or refused; connections open and hang with the first large answer. Linux lowers the MTU only when
    the tunnel is created on a device, and never when the link below shrinks later.

Active when
    Never: it is a risk while the tunnel's MTU plus the overhead is more than the link's MTU. ``Ip.FragFails`` and
    ``Ip.FragCreates`` are shown beside it. Tunnels in metadata mode (Cilium, ``external``) have the link's MTU by
    design, since routes carry the limit: they are not judged. A tunnel whose way out is not known is unknown.

How it is remedied
    Role ``link_mtu`` sets what fits, unless a CNI made the tunnel: then its MTU belongs in the CNI's configuration.
    Where the other end cannot be changed, role ``mss_clamp`` keeps TCP small enough.

Fix safety
    Lowering takes effect at once: connections keep their segment size until path MTU discovery corrects it. Change
    both ends of the tunnel.

References
    https://docs.kernel.org/networking/vxlan.html
    https://docs.cilium.io/en/stable/network/concepts/routing/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _links, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Link

_CNI = (
    (re.compile(r"cilium_.*"), "cilium"),
    (re.compile(r"flannel.*"), "flannel"),
    (re.compile(r"vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|tunl0"), "calico"),
)
_SHOWN = ("Ip.FragFails", "Ip.FragCreates", "Ip6.FragFails", "Ip6.FragCreates")


@check(reads=("link",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Compare each tunnel with the room that the link below leaves."""
    table = view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    tunnels = [link for link in _links.up(table) if link.overhead]
    judged = [link for link in tunnels if not _metadata(link)]
    if not judged:
        why = f"{tunnels[0].name} is in metadata mode: routes carry its limit" if tunnels else "no tunnel is up"
        return not_applicable(why)
    facts = {link.name: _fact(link, _links.named(table, link.underlay)) for link in judged}
    large = {name: fact for name, fact in facts.items() if fact["fits"] is not None and fact["mtu"] > fact["fits"]}
    lost = {name: fact for name, fact in facts.items() if fact["fits"] is None}
    if not large and lost:
        return unknown(f"the link below {next(iter(lost))} is not known, so neither is the room it leaves")
    if not large:
        return passed(f"{_say.plural(len(judged), 'tunnel')} with room for the headers", tunnels=facts)
    name, fact = next(iter(large.items()))
    more = f" (and {len(large) - 1} more)" if len(large) > 1 else ""
    owner = _owner(name)
    ours = {n: f["fits"] for n, f in large.items() if _changeable(n, f)}
    return view.fail(
        Grade.RISK,
        f"{name} has MTU {fact['mtu']}, {fact['underlay']} leaves {fact['fits']}{more}",
        evidence={"tunnels": facts, "counters": _counters(view)},
        reproduce=_say.shell(
            view, f"ip -d link show dev {_say.quote(name)}; ip link show dev {_say.quote(fact['underlay'])}"
        ),
        disproof=f"A packet of {fact['mtu']} bytes with DF set passes: `ping -M do -s {fact['mtu'] - 28}` through it.",
        owner=owner,
        remedy=Remedy("link_mtu", {"link_mtu_links": ours}) if ours and not view.netns else None,
        advice=_advice(owner, fact),
        cause=f"tunnels are too large for the link below ({fact['kind']})",
    )


def _metadata(link: Link) -> bool:
    """Say whether the tunnel takes its remote per packet (``external``): it then has no MTU of its own."""
    return link.details.get("external", "").lower() in {"1", "true", "yes", "on"} or link.name.startswith("cilium_")


def _fact(link: Link, underlay: Link | None) -> dict[str, Any]:
    known = underlay is not None and not link.peer_elsewhere and underlay.name != link.name
    return {
        "kind": link.kind,
        "mtu": link.mtu,
        "overhead": link.overhead,
        "underlay": link.underlay,
        "underlay_mtu": underlay.mtu if underlay and known else None,
        "found_by": link.underlay_by,
        "fits": underlay.mtu - (link.overhead or 0) if underlay and known else None,
    }


def _owner(name: str) -> str:
    return next((owner for pattern, owner in _CNI if pattern.fullmatch(name)), "")


def _changeable(name: str, fact: dict[str, Any]) -> bool:
    """Say whether the number is certain and nobody else's; below 1280 it would switch IPv6 off."""
    return not _owner(name) and fact["found_by"] != "default route" and fact["fits"] >= 1280


def _counters(view: View) -> dict[str, int]:
    delta = (view.snapshot.counters.delta if view.snapshot.counters else None) or {}
    return {name: delta[name] for name in _SHOWN if name in delta}


def _advice(owner: str, fact: dict[str, Any]) -> str:
    if owner:
        return f"{owner} made this tunnel: set the MTU {fact['fits']} in its configuration, on all nodes."
    guess = " The way out was taken to be the default route: check that first." * (fact["found_by"] == "default route")
    return (
        f"Set its MTU to {fact['fits']} where it is made (WireGuard: `MTU = {fact['fits']}`; Proxmox: the SDN zone's "
        f"MTU; netplan, ifupdown, networkd: mtu), at both ends; or clamp TCP's segment size to the path's MTU.{guess}"
    )
