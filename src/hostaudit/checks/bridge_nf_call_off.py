"""Bridged packets meet the packet filter where something relies on it.

What it reads
    ``net.bridge.bridge-nf-call-iptables`` and ``-ip6tables`` and their counterparts of single bridges; whether
    kube-proxy, Docker or the Proxmox firewall (iptables) runs; the bridges and their ports.

Why it matters
    With br_netfilter off, a packet between two ports of one bridge passes no iptables rule. Behind a bridge CNI a pod
    then gets the answer to a Service from the pod's own address and resets it, exactly when both pods are on one
    node. On Proxmox it means that the guests' firewall filters nothing.

Active when
    Never: no counter shows it. It is a risk where kube-proxy serves pods on a bridge, where br_netfilter is loaded but
    off on a Docker host, and where the Proxmox firewall (iptables) is on. Docker loads the module itself where it
    needs it, so its absence there is no fault.

How it is remedied
    For kube-proxy and Docker, role ``sysctl`` sets the two keys; br_netfilter has to be named in
    /etc/modules-load.d, or they are skipped at boot. pve-firewall sets them every 10 s: if they are off there, it
    does not run its loop, and the advice is to find out why.

Fix safety
    From then on bridged packets also meet every INVALID drop and every FORWARD policy of this host. Where the path is
    asymmetric by design, read ``conntrack-invalid-drop`` first.

References
    https://docs.kernel.org/networking/bridge.html
    https://kubernetes.io/docs/setup/production-environment/container-runtimes/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _links, check, not_applicable, passed
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_ADVICE = {
    "pve-firewall": (
        "pve-firewall switches it on every 10 s, so its loop does not run or fails: see `pve-firewall status` and "
        "`journalctl -u pve-firewall`. Until then guests are not filtered. Nothing set in sysctl.d would last."
    ),
    "": (
        "Name br_netfilter in /etc/modules-load.d and set net.bridge.bridge-nf-call-iptables=1 and -ip6tables=1 in "
        "/etc/sysctl.d. Bridged packets then also meet the INVALID drops of this host."
    ),
}


@check(reads=("firewall", "link", "platform"), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Ask who relies on it, then whether it is on."""
    firewall, table = view.snapshot.firewall, view.snapshot.link
    assert firewall is not None  # noqa: S101 - reads
    assert table is not None  # noqa: S101 - reads
    call = firewall.bridge_nf_call.get("iptables")
    bridges = [
        bridge.name for bridge in _links.up(table) if bridge.kind == "bridge" and _links.ports(table, bridge.name)
    ]
    needed_by = "" if view.netns else _needed_by(view, loaded=call is not None)
    if not needed_by or not bridges:
        return not_applicable("nothing on this host relies on it" if bridges else "no bridge with a port is up")
    off = [name for name in bridges if not call and not firewall.bridges.get(name, {}).get("nf_call_iptables")]
    evidence = {"needed_by": needed_by, "bridge_nf_call": firewall.bridge_nf_call, "off": off}
    if not off:
        return passed(f"bridged packets meet the packet filter, as {needed_by} needs it", **evidence)
    pve = needed_by == "pve-firewall"
    keys = {"net.bridge.bridge-nf-call-iptables": 1, "net.bridge.bridge-nf-call-ip6tables": 1}
    state = "br_netfilter is not loaded" if call is None else "bridge-nf-call-iptables is 0"
    return view.fail(
        Grade.RISK,
        f"{state}, and {needed_by} relies on it for {off[0]}",
        severity={"pve-firewall": Severity.HIGH, "docker": Severity.LOW}.get(needed_by),
        evidence=evidence,
        reproduce="sysctl net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables",
        disproof="Two guests of this bridge are kept apart by a rule of chain FORWARD.",
        owner=needed_by if pve else "",
        remedy=None if pve or call is None else Remedy("sysctl", {"sysctl_values": keys}),
        advice=_ADVICE["pve-firewall" if pve else ""],
        cause=f"bridged packets bypass the packet filter that {needed_by} relies on",
    )


def _needed_by(view: View, *, loaded: bool) -> str:
    platform = view.snapshot.platform
    if owners.firewall(platform) == "pve-firewall":
        return "pve-firewall"
    if owners.present(platform, "kube-proxy"):
        return "kube-proxy"
    return "docker" if loaded and owners.present(platform, "docker") else ""
