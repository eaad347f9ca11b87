"""What writes a knob again after somebody else changed it, and where that program reads its value. Pure.

``writer`` answers for one key on one host. ``hostaudit.writers`` is the table of all of them, with where each fact is
known from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit import writers
from hostaudit.writers import Writes

if TYPE_CHECKING:
    from hostaudit.writers import Known
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
    agrees: bool = False
    """It only ever writes what a remedy of that key would write, too."""


def present(platform: Platform | None, name: str) -> Owner | None:
    """Return the owner of that name if it is on this host."""
    owners = platform.owners if platform else []
    return next((owner for owner in owners if owner.name == name), None)


def firewall(platform: Platform | None) -> str:
    """Return which Proxmox firewall makes the rules here: ``pve-firewall``, ``proxmox-firewall`` or empty."""
    proxmox = platform.proxmox if platform else None
    if proxmox is None or proxmox.running is False:
        return ""
    return {"iptables": writers.PVE, "nftables": writers.RUST}.get(proxmox.implementation, "")


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
    here = {owner.name for owner in platform.owners}.difference(writers.FIREWALLS) | {firewall(platform)}
    for one in writers.KNOWN:
        if one.name in here and re.fullmatch(one.keys, key) and _writes(platform, one, key):
            chosen = one.place == writers.HOST_FW and platform.proxmox is not None
            name = key.rpartition(".")[2] if chosen else ""
            place = one.place.replace("host.fw", host_fw(platform.proxmox)) if platform.proxmox else one.place
            return Writer(one.name, one.when, place, name, one.agrees)
    return None


def _writes(platform: Platform, one: Known, key: str) -> bool:
    """Say whether the program writes the key on this host, as far as the host tells."""
    if one.writes is Writes.ALWAYS:
        return True
    given = one.place == writers.HOST_FW and option(platform, key.rpartition(".")[2]) is not None
    return given is (one.writes is Writes.IF_SET)
