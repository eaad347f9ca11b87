"""Networks of pods on a node, and what gives their packets another source. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from hostaudit.checks import _links

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.checks._links import Network
    from hostaudit_agent.snapshot import LinkTable, NatRule, Snapshot

_BRIDGES = re.compile(r"cni\d+|cbr\d+|kube-bridge|weave|antrea-gw\d+|mynet\d*|cni-podman\d+")
_TUNNELS = re.compile(r"flannel\.\d+|flannel-v6\.\d+|vxlan\.calico|tunl0|antrea-tun\d+")
_GUESTS = re.compile(r"(veth|cali|lxc|eni|azv).*")
_SERVICES = ("KUBE-", "kube-proxy")
"""Rules of kube-proxy masquerade what a Service marked, not what pods send."""
CILIUM = "cilium_host"
_CNI = (
    ("FLANNEL-", "flannel"),
    ("flannel-", "flannel"),
    ("cali-", "calico"),
    ("CILIUM_", "cilium"),
    ("CNI-", "the bridge plugin"),
    ("cni_", "the bridge plugin"),
    ("KIND-MASQ", "kindnet"),
    ("IP-MASQ", "ip-masq-agent"),
    ("AWS-SNAT", "the AWS VPC CNI"),
    ("AWS-CONNMARK", "the AWS VPC CNI"),
    ("ANTREA-", "antrea"),
    ("KUBE-ROUTER-", "kube-router"),
    ("WEAVE", "weave"),
)


def networks(table: LinkTable) -> list[Network]:
    """Return the networks in which this node's pods are; a tunnel's lone address stands for its own network."""
    found: list[Network] = []
    for link in _links.up(table):
        if link.kind == "bridge" and _BRIDGES.fullmatch(link.name):
            found += _links.networks(link)
        elif _TUNNELS.fullmatch(link.name):
            found += [ipaddress.ip_network(address.partition("/")[0]) for address in link.addresses if _global(address)]
    return sorted(set(found), key=str)


def of_cilium(table: LinkTable) -> list[Network]:
    """Return the address by which Cilium's pods on this node are known; none where Cilium has no interface here."""
    link = _links.named(table, CILIUM)
    return [ipaddress.ip_network(text.partition("/")[0]) for text in link.addresses if _global(text)] if link else []


def running(table: LinkTable) -> int:
    """Return how many interfaces of pods are up."""
    return sum(bool(_GUESTS.fullmatch(link.name)) and link.kind == "veth" for link in _links.up(table))


def cni(rule: NatRule) -> str:
    """Return which CNI makes the rule; empty where it is not known."""
    return next((who for prefix, who in _CNI if rule.chain.startswith(prefix) or rule.table.startswith(prefix)), "")


def covering(snapshot: Snapshot, pods: Iterable[Network]) -> list[NatRule]:
    """Return the rules that give packets of these pods another source on their way out."""
    assert snapshot.firewall is not None  # noqa: S101 - the check declares that it reads it
    wanted = list(pods)
    return [
        rule
        for rule in snapshot.firewall.nat
        if rule.kind in ("masquerade", "snat")
        and "postrouting" in rule.hooks
        and not _of_services(rule)
        and any(_takes(rule, network) for network in wanted)
    ]


def of_pods(text: str, pods: Iterable[Network]) -> bool:
    """Say whether a waiting handshake, ``10.244.5.9:4000>198.51.100.1:443``, goes from a pod to somewhere else."""
    source, _, target = text.partition(">")
    here, there = (_address(side) for side in (source, target))
    return bool(here and there) and any(here in n and there not in n for n in pods if here and there)


def _of_services(rule: NatRule) -> bool:
    return cni(rule) == "" and (rule.chain.startswith(_SERVICES) or rule.table == "kube-proxy" or rule.marked)


def _takes(rule: NatRule, network: Network) -> bool:
    """Say whether the rule takes packets of the network, or of some address in it."""
    if rule.family not in ("inet", "ip6" if network.version == 6 else "ip"):
        return False
    inverted = rule.source.startswith("! ")
    text = rule.source.removeprefix("! ")
    if text in ("", "..."):
        return True
    try:
        source = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return True
    return source.version == network.version and source.overlaps(network) != inverted


def _address(side: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(side.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def _global(address: str) -> bool:
    try:
        return not ipaddress.ip_interface(address).is_link_local
    except ValueError:
        return False
