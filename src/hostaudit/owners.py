"""What writes a knob again after somebody else changed it, and where that program reads its value. Pure.

Sources: pve-firewall src/PVE/Firewall.pm (loop of 10 s), proxmox-firewall src/firewall.rs (5 s), kube-proxy
cmd/kube-proxy/app/conntrack.go, Cilium pkg/datapath/loader/base.go, Docker's bridge driver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit_agent.snapshot import Owner, Platform, Proxmox

CONNTRACK_MAX = "net.netfilter.nf_conntrack_max"
ALIASES = {"net.nf_conntrack_max": CONNTRACK_MAX}
"""Names of the same variable of the kernel."""

PVE_FLOOR = 262144
"""pve-firewall ignores a smaller ``nf_conntrack_max`` in host.fw, although the schema takes 32768."""
PVE_STEP = 8192
"""pve-firewall rounds ``nf_conntrack_max`` up to a multiple of this."""
PVE_UNWRITTEN = "nf_conntrack_tcp_timeout_syn_recv"
"""pve-firewall reads this option under a misspelt name: once it is set, the key is not written at all."""
NFT_HONOURS_INVALID = (0, 7, 0)
"""proxmox-firewall from which on every chain honours ``nf_conntrack_allow_invalid`` (its changelog)."""

_PVE_OPTIONS = {
    CONNTRACK_MAX: "nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_recv": "nf_conntrack_tcp_timeout_syn_recv",
}
_PVE_FORCED = (
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.tcp_syncookies",
)
_KUBE_PROXY = {
    CONNTRACK_MAX: "conntrack.maxPerCore and conntrack.min",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "conntrack.tcpEstablishedTimeout",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "conntrack.tcpCloseWaitTimeout",
    "net.ipv4.conf.all.route_localnet": "iptables.localhostNodePorts",
}
_CILIUM = re.compile(r"net\.ipv4\.conf\.(all|lxc[^.]*|cilium_[^.]*)\.rp_filter")


@dataclass(frozen=True, slots=True)
class Writer:
    """A program that writes one knob of this host."""

    name: str
    when: str
    """``every 10 s``, ``when it starts``."""
    place: str
    """Where it reads the value that it writes; a phrase that follows ``set it in``. Empty: the value is fixed."""
    option: str = ""
    """The option's name in host.fw; empty where the value cannot be chosen, or elsewhere."""


def present(platform: Platform | None, name: str) -> Owner | None:
    """Return the owner of that name if it is on this host."""
    owners = platform.owners if platform else []
    return next((owner for owner in owners if owner.name == name), None)


def firewall(platform: Platform | None) -> str:
    """Return which Proxmox firewall makes the rules here: ``pve-firewall``, ``proxmox-firewall`` or empty."""
    proxmox = platform.proxmox if platform else None
    if proxmox is None or proxmox.running is False:
        return ""
    return {"iptables": "pve-firewall", "nftables": "proxmox-firewall"}.get(proxmox.implementation, "")


def release(version: str) -> tuple[int, ...]:
    """Return the numbers that a Debian version begins with: ``0.6.0-1`` is (0, 6, 0)."""
    upstream = version.rpartition(":")[2].partition("-")[0].partition("~")[0]
    return tuple(int(part) for part in re.findall(r"\d+", upstream))


def host_fw(proxmox: Proxmox) -> str:
    """Return the path of this node's host.fw."""
    return proxmox.options_file or f"/etc/pve/nodes/{proxmox.node}/host.fw"


def option(platform: Platform | None, name: str) -> str | None:
    """Return an option of host.fw as the live firewall reads it; ``None`` where it is not set, or no Proxmox."""
    return platform.proxmox.options.get(name) if platform and platform.proxmox else None


def writer(platform: Platform | None, key: str) -> Writer | None:
    """Return what writes the sysctl ``key`` again on this host, or ``None`` where nothing known does."""
    if platform is None:
        return None
    key = ALIASES.get(key, key)
    pve = firewall(platform)
    if pve and platform.proxmox:
        place = f"[OPTIONS] of {host_fw(platform.proxmox)}"
        name = _PVE_OPTIONS.get(key, "")
        silent = name == PVE_UNWRITTEN and name in platform.proxmox.options
        if pve == "pve-firewall" and (name or key in _PVE_FORCED) and not silent:
            return Writer(pve, "every 10 s", place if name else "", name)
        if pve == "proxmox-firewall" and name and name in platform.proxmox.options:
            return Writer(pve, "every 5 s", place, name)
    if key in _KUBE_PROXY and present(platform, "kube-proxy"):
        return Writer("kube-proxy", "when it starts", f"its ConfigMap, {_KUBE_PROXY[key]}")
    if _CILIUM.fullmatch(key) and present(platform, "cilium"):
        return Writer("cilium", "when its agent starts", "")
    if key == "net.ipv4.ip_forward" and present(platform, "docker"):
        return Writer("docker", "when it starts", '/etc/docker/daemon.json, "ip-forward"')
    return None
