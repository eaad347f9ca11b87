"""Which INVALID drops packets on their way through a host meet, and how many they met. Pure.

A packet goes through a host when the kernel forwards it (routed) or when a bridge hands it from port to port; the
latter meets the rules of family ip and ip6 only while br_netfilter passes it to them, and those of nftables' family
bridge always (net/bridge/br_netfilter_hooks.c).

With ``filter-vlan-tagged`` 0, as on Proxmox, br_netfilter leaves frames alone that carry a VLAN tag when they come in
or when they go out. A bridge that filters VLANs gives each frame a tag inside, and takes it off again for a port that
is untagged before the forward hook runs (net/bridge/br_forward.c, __br_forward). So on such a bridge the rules are met
from untagged port to untagged port, and not by a guest with ``tag=`` that speaks over the trunk; with ``firewall=1``
its packets are untagged on the bridge of their own, fwbr, and meet the rules there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.checks import _links, _say

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Rule, Snapshot

ALWAYS_THERE = frozenset({"PVEFW-HOST-IN", "PVEFW-HOST-OUT", "PVEFW-Drop", "PVEFW-Reject"})
"""Chains in which pve-firewall drops INVALID whatever ``nf_conntrack_allow_invalid`` says."""

_LONGEST = 28
"""Characters of a chain's name, as iptables limits it; nftables allows 255."""

_THROUGH = frozenset({"prerouting", "forward", "postrouting"})
_BRIDGED = {"ip": ("iptables",), "ip6": ("ip6tables",), "inet": ("iptables", "ip6tables")}
_FORWARDING = {
    "ip": ("net.ipv4.ip_forward",),
    "ip6": ("net.ipv6.conf.all.forwarding",),
    "inet": ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
}


@dataclass(frozen=True)
class Drops:
    """The INVALID drops of one host."""

    met: tuple[Rule, ...] = ()
    """Rules that packets through this host meet; the one that dropped most comes first."""
    ways: tuple[str, ...] = ()
    """``bridged``, ``routed``: how packets get to them."""
    everything_bridged: bool = False
    """All traffic between a bridge's uplink and its guests meets one of them."""
    counted: int = 0
    """Packets that those with a counter dropped between the samples."""
    classified: int | None = None
    """Packets that conntrack called INVALID between the samples, where one of ``met`` has no counter to read."""
    forwarded: int = 0
    """Packets that this host routed between the samples."""
    always_there: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    """Rules that only the host's own traffic meets, or none."""

    @property
    def moved(self) -> int:
        """Packets between the samples, from the counters, else from conntrack's statistics."""
        return max(self.counted, self.classified or 0)

    @property
    def chain(self) -> str:
        """The chain to name in a sentence."""
        rule = self.met[0]
        name = rule.chain if len(rule.chain) <= _LONGEST else rule.chain[: _LONGEST - 3] + "..."
        return f"nft {name}" if rule.backend == "nftables" else name


def paths(snapshot: Snapshot) -> tuple[str, ...]:
    """Return how packets can go through this host at all."""
    assert snapshot.link is not None  # noqa: S101 - the checks that call this declare that they read it
    routed = any(_say.number(snapshot.sysctl, key) for key in _FORWARDING["inet"])
    return ("bridged",) * bool(_links.switching(snapshot.link)) + ("routed",) * routed


def examine(snapshot: Snapshot) -> Drops:
    """Sort the INVALID drops of a snapshot whose firewall, link and sysctl surfaces were read."""
    assert snapshot.firewall is not None  # noqa: S101 - the checks that call this declare that they read it
    met: dict[int, tuple[str, ...]] = {}
    always, elsewhere = [], []
    for number, rule in enumerate(snapshot.firewall.invalid):
        if rule.chain in ALWAYS_THERE:
            always.append(rule.chain)
        elif found := _ways(rule, snapshot):
            met[number] = found
        else:
            elsewhere.append(f"{rule.backend} {rule.family} {rule.table} {rule.chain} {rule.index}: {rule.text}")
    rules = sorted((snapshot.firewall.invalid[n] for n in met), key=lambda r: -(r.delta or 0))
    ways = {way for number in met for way in met[number]}
    unread = any(rule.delta is None for rule in rules)
    return Drops(
        tuple(rules),
        tuple(sorted(ways)),
        any("bridged" in met[n] and not snapshot.firewall.invalid[n].narrowed for n in met) and _uplinked(snapshot),
        sum(rule.delta or 0 for rule in rules),
        _classified(snapshot) if unread else None,
        _forwarded(snapshot),
        tuple(sorted(set(always))),
        tuple(elsewhere),
    )


def dropping(view: View, drops: Drops) -> bool:
    """Say whether this host drops so many INVALID packets that it is more than the noise of every network.

    A late RST or FIN after its entry is gone is INVALID on any healthy router: there the number must also be more
    than a share of what is routed. Where the asymmetry is declared, one packet is one too many.
    """
    if not drops.met:
        return False
    if view.host.asymmetric:
        return drops.moved >= 1
    if drops.moved < view.threshold("active_packets"):
        return False
    return drops.everything_bridged or drops.moved > view.threshold("noise_share") * drops.forwarded


def readable(view: View) -> bool:
    """Say whether the surfaces that ``examine`` needs were read on this (peer's) host."""
    snapshot = view.snapshot
    return snapshot.firewall is not None and snapshot.link is not None and snapshot.sysctl is not None


def of(view: View) -> Drops:
    """Return the INVALID drops of a host, or of a peer, as ``examine``."""
    return view.once(_examined)


def _examined(view: View) -> Drops:
    return examine(view.snapshot)


def _ways(rule: Rule, snapshot: Snapshot) -> tuple[str, ...]:
    assert snapshot.firewall is not None  # noqa: S101 - examine asserts it for people
    assert snapshot.link is not None  # noqa: S101 - examine asserts it for people
    if not _THROUGH.intersection(rule.hooks):
        return ()
    switching = _links.switching(snapshot.link)
    if rule.family == "bridge":
        return ("bridged",) if switching else ()
    calls = _BRIDGED.get(rule.family, ())
    globally = any(snapshot.firewall.bridge_nf_call.get(call) for call in calls)
    near = [bridge for bridge in switching if rule.delta or not tagged_only(snapshot, bridge.name)]
    own = [snapshot.firewall.bridges.get(bridge.name, {}) for bridge in near]
    bridged = any(globally or settings.get(f"nf_call_{call}") for settings in own for call in calls)
    routed = any(_say.number(snapshot.sysctl, key) for key in _FORWARDING.get(rule.family, ()))
    return ("bridged",) * bridged + ("routed",) * routed


def _uplinked(snapshot: Snapshot) -> bool:
    assert snapshot.link is not None  # noqa: S101 - examine asserts it for people
    table = snapshot.link
    met = [bridge for bridge in _links.switching(table) if not tagged_only(snapshot, bridge.name)]
    return any(not _links.private(table, bridge) for bridge in met)


def tagged_only(snapshot: Snapshot, bridge: str) -> bool:
    """Say whether all that guests send over a bridge to the network is tagged, so that br_netfilter leaves it alone.

    Guests of one VLAN on one node still meet the rules when they talk to each other, from untagged port to untagged
    port; both halves of such a flow pass here.
    """
    firewall, proxmox = snapshot.firewall, snapshot.platform.proxmox if snapshot.platform else None
    assert firewall is not None  # noqa: S101 - examine asserts it for people
    filtering = firewall.bridges.get(bridge, {}).get("vlan_filtering")
    if not filtering or firewall.bridge_nf_call.get("filter-vlan-tagged") or proxmox is None:
        return False
    nics = [nic for guest in proxmox.guests for nic in guest.nics if nic.bridge == bridge]
    return bool(nics) and all(nic.tag is not None or nic.trunks for nic in nics)


def _classified(snapshot: Snapshot) -> int | None:
    delta = snapshot.conntrack.delta if snapshot.conntrack else None
    return None if delta is None else delta.get("invalid", 0)


def _forwarded(snapshot: Snapshot) -> int:
    delta = (snapshot.counters.delta if snapshot.counters else None) or {}
    return delta.get("Ip.ForwDatagrams", 0) + delta.get("Ip6.OutForwDatagrams", 0)
