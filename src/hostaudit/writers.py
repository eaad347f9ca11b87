"""All that is known to write knobs of a host again: which, how soon, where its value is set, and who says so. Pure.

The one table of this. tools/owners.py makes docs/owners.md from it, ``hostaudit.owners`` answers from it which of them
is at work on a given host, and plans wait and watch for as long as it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

PVE, RUST = "pve-firewall", "proxmox-firewall"
FIREWALLS = (PVE, RUST)
"""The firewalls of Proxmox VE, of which one is at work on a node; its options are in host.fw."""
HOST_FW = "[OPTIONS] of host.fw"
"""Where both read an option, which has the name of the key's last part."""


class Writes(Enum):
    """Whether a program that runs writes the key."""

    ALWAYS = "always"
    IF_SET = "only where it is set there"
    """In host.fw that can be seen; what a ConfigMap or a profile says, a host does not tell."""
    UNLESS_SET = "only while it is not set there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Something that writes knobs, whether it is on a host or not."""

    name: str
    keys: str
    """The keys, as a pattern for the whole name."""
    value: str
    source: str
    """Where this is known from: repository and file, or a manual page."""
    period: int = 0
    """Seconds between two of its rounds; 0: it does not work in rounds."""
    moment: str = ""
    """When it writes, where that is not in rounds: ``when it starts``, ``at boot``."""
    place: str = ""
    """Where its value is set; a phrase that follows ``set it in``. Empty: the value cannot be chosen."""
    note: str = ""
    """What else is to be known of that place; for people."""
    writes: Writes = Writes.ALWAYS
    agrees: bool = False
    """It never writes a value that a remedy would have to fear: no reason not to set the same value elsewhere."""

    @property
    def when(self) -> str:
        """How soon it writes again: ``every 10 s``, ``when it starts``, ``at boot``."""
        return f"every {self.period} s" if self.period else self.moment


_PERL = "pve-firewall: src/PVE/Firewall.pm, update_nf_conntrack_max and its neighbours; src/PVE/Service/pve_firewall.pm"
_KUBE = "kubernetes: cmd/kube-proxy/app/conntrack.go"
_CONFIG_MAP = "its ConfigMap, "
_STARTS = "when it starts"
KNOWN = (
    Known(
        name=PVE,
        keys=r"net\.netfilter\.nf_conntrack_max",
        value="262144, or more if host.fw says so; the hash a quarter of it",
        period=10,
        place=HOST_FW,
        source=_PERL,
    ),
    Known(
        name=PVE,
        keys=r"net\.netfilter\.nf_conntrack_tcp_timeout_established",
        value="432000, or host.fw's",
        period=10,
        place=HOST_FW,
        source=_PERL,
    ),
    Known(
        name=PVE,
        keys=r"net\.netfilter\.nf_conntrack_tcp_timeout_syn_recv",
        value="60",
        period=10,
        place=HOST_FW,
        note="it reads the option under a misspelt name: once it is set, it writes nothing, and sysctl.d decides",
        writes=Writes.UNLESS_SET,
        source=_PERL,
    ),
    Known(
        name=PVE,
        keys=r"net\.(bridge\.bridge-nf-call-ip6?tables|ipv4\.tcp_syncookies)",
        value="1",
        period=10,
        note="while the firewall is on",
        source=_PERL,
    ),
    Known(
        name=RUST,
        keys=r"net\.netfilter\.nf_conntrack_(max|tcp_timeout_(established|syn_recv))",
        value="host.fw's, as it stands",
        period=5,
        place=HOST_FW,
        writes=Writes.IF_SET,
        source="proxmox-firewall: src/firewall.rs, src/bin/proxmox-firewall.rs",
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.netfilter\.nf_conntrack_max",
        value="the larger of conntrack.min and maxPerCore x CPUs; until 1.28 it only raised, 1.29 to 1.35 set it "
        "exactly, 1.36 caps it at 1048576",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}conntrack.maxPerCore and conntrack.min",
        note="with maxPerCore 0 it leaves the limit alone",
        source=f"{_KUBE}; kubernetes#103174, #120448, #137002",
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.netfilter\.nf_conntrack_tcp_timeout_established",
        value="24 h",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}conntrack.tcpEstablishedTimeout",
        source=_KUBE,
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.netfilter\.nf_conntrack_tcp_timeout_close_wait",
        value="1 h",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}conntrack.tcpCloseWaitTimeout",
        source=_KUBE,
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.netfilter\.nf_conntrack_(tcp_be_liberal|udp_timeout(_stream)?)",
        value="the ConfigMap's",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}conntrack.tcpBeLiberal, udpTimeout and udpStreamTimeout",
        writes=Writes.IF_SET,
        source=_KUBE,
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.ipv4\.conf\.all\.arp_(ignore|announce)",
        value="1 and 2",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}ipvs.strictARP",
        writes=Writes.IF_SET,
        source="kubernetes: pkg/proxy/ipvs/proxier.go",
    ),
    Known(
        name="kube-proxy",
        keys=r"net\.ipv4\.conf\.all\.route_localnet",
        value="1",
        moment=_STARTS,
        place=f"{_CONFIG_MAP}iptables.localhostNodePorts",
        source="kubernetes: pkg/proxy/iptables/proxier.go",
    ),
    Known(
        name="cilium",
        keys=r"net\.ipv4\.conf\.(all|lxc[^.]*|cilium_[^.]*)\.rp_filter",
        value="0",
        moment="when its agent starts",
        note="its init container also writes /etc/sysctl.d/99-zzz-override_cilium.conf",
        source="cilium: pkg/datapath/loader/base.go",
    ),
    Known(
        name="docker",
        keys=r"net\.ipv4\.ip_forward",
        value="1; it never writes 0",
        moment=_STARTS,
        place='/etc/docker/daemon.json, "ip-forward"',
        agrees=True,
        source="moby: the bridge driver",
    ),
    Known(
        name="docker",
        keys=r"net\.bridge\.bridge-nf-call-ip6?tables",
        value="1, where its networks need it; it never writes 0",
        moment=_STARTS,
        writes=Writes.IF_SET,
        agrees=True,
        source="moby: the bridge driver",
    ),
    Known(
        name="tuned",
        keys=r".+",
        value="those of its profile, [sysctl]",
        moment="when it starts, and with each change of the profile",
        place="/etc/tuned",
        note="reapply_sysctl=1 then puts sysctl.d above the profile",
        writes=Writes.IF_SET,
        source="tuned: tuned/plugins/plugin_sysctl.py",
    ),
    Known(
        name="udev",
        keys=r"net\.ipv[46]\.(conf|neigh)\..+",
        value="the files' lines for that interface, patterns included",
        moment="with each new interface",
        place="sysctl.d",
        note="not for net.netfilter and net.bridge",
        writes=Writes.IF_SET,
        source="systemd: rules.d/99-systemd.rules",
    ),
    Known(
        name="systemd-sysctl",
        keys=r".+",
        value="the last line of all files in order of their names, /etc before /run before /usr/lib for one name",
        moment="at boot, and when somebody runs `sysctl --system`",
        place="sysctl.d",
        note="a key whose module is not loaded yet is skipped",
        writes=Writes.IF_SET,
        source="systemd: sysctl.d(5), systemd-sysctl.service(8)",
    ),
    Known(
        name="a person",
        keys=r".+",
        value="anything",
        moment="not again",
        note="nowhere: it is gone after a reboot",
        writes=Writes.IF_SET,
        source="sysctl(8)",
    ),
)
"""The programs in the order in which they win on one host: the one that writes again soonest stands first."""


def known(name: str, key: str) -> Known | None:
    """Return what is known of how a program writes a key; ``None``: it does not."""
    return next((one for one in KNOWN if one.name == name and re.fullmatch(one.keys, key)), None)


def period(name: str) -> int:
    """Return how many seconds lie between two rounds of a program; 0: it is none that works in rounds."""
    return max((one.period for one in KNOWN if one.name == name), default=0)


def longest(names: str) -> int:
    """Return the longest period of programs, whose names have commas between them; 0 where none works in rounds."""
    return max(period(name.strip()) for name in names.split(","))
