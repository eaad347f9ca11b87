"""A Proxmox VE node: which implementation of the firewall is live, what it reads, and whether the cluster has quorum.

Live is, as pve-firewall decides (src/PVE/Firewall.pm, ``is_enabled_and_not_nftables``): nothing while cluster.fw does
not switch the firewall on; nftables where host.fw says so, the program is there and no flag file forbids it; else
iptables.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.proxmox import fwfile, guests
from hostaudit_agent.proxmox.options import CLUSTER, GUEST, HOST
from hostaudit_agent.snapshot import Proxmox

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hostaudit_agent.proxmox.fwfile import Reading
    from hostaudit_agent.root import Root

CLUSTER_FILE = "/etc/pve/firewall/cluster.fw"
NFTABLES_DAEMON = "usr/libexec/proxmox/proxmox-firewall"
FORCE_DISABLE = "run/proxmox-nftables-firewall-force-disable"
DAEMONS = {"iptables": "pve-firewall", "nftables": "proxmox-firewal"}
"""Process names, of which the kernel keeps 15 bytes."""
EPOCH_SECONDS = 60
"""``enable: <unix time>`` is on for that long."""
PACKAGES = ("pve-firewall", "proxmox-firewall", "qemu-server", "pve-container", "pve-cluster", "libpve-common-perl")
NETWORK, PENDING = "etc/network/interfaces", "etc/network/interfaces.new"
MOST_PENDING = 20
SHOWN = (
    "auto", "iface", "address", "netmask", "gateway", "mtu", "bridge", "bond", "vlan", "slaves", "ovs", "allow",
)  # fmt: skip
"""First words of the lines of a network configuration that are shown; others may hold secrets."""


class Around(NamedTuple):
    """What the platform's collector knows of the machine."""

    version: Callable[[str], str | None]
    hostname: str
    commands: Collection[str]
    unread: Callable[[str, str], None]


def read(root: Root, version: str, around: Around) -> Proxmox:
    """Return what there is of Proxmox VE; what cannot be read is told to ``around.unread``."""
    mounted = root.exists("etc/pve/.version")
    name, quorate = _members(root, around)
    found = Proxmox(version, name, mounted, quorate, options_file=f"/etc/pve/nodes/{name}/host.fw")
    found.packages = {package: v for package in PACKAGES if (v := around.version(package)) is not None}
    found.nftables_installed = os.access(root.path(NFTABLES_DAEMON), os.X_OK)
    found.force_disabled = root.exists(FORCE_DISABLE)
    try:
        found.pending_network = pending(root)
    except OSError as e:
        around.unread("proxmox.pending_network", f"{e.strerror}: {e.filename}")
    if not mounted and not root.exists("etc/pve/nodes"):
        around.unread("proxmox", "/etc/pve is not mounted; is pve-cluster running?")
        return found
    try:
        cluster = root.read_text(CLUSTER_FILE)
        found.cluster_enabled = None if cluster is None else enabled(cluster, time.time())
        host = root.read_text(found.options_file) or ""
    except OSError as e:
        around.unread("proxmox", f"{e.strerror}: {e.filename}")
        return found
    _judge(root, found, cluster or "", host, around)
    return found


def _judge(root: Root, found: Proxmox, cluster: str, host: str, around: Around) -> None:
    """Fill in which implementation is live and what it reads."""
    parsed = fwfile.perl(host)
    nftables = parsed.options.get("nftables") == "1" and found.nftables_installed and not found.force_disabled
    found.implementation = ("nftables" if nftables else "iptables") if found.cluster_enabled else "off"
    if found.cluster_enabled:
        found.running = DAEMONS[found.implementation] in around.commands
    live = fwfile.rust if nftables else fwfile.perl
    parsed = live(host)
    found.options = parsed.options
    found.ignored = [f"{found.options_file}:{number}: {line}" for number, line in parsed.ignored]
    lines = enumerate(host.splitlines(), 1)
    found.comments = [f"{found.options_file}:{n}: {line}" for n, line in lines if line.lstrip(" \t").startswith("#")]
    found.misread = fwfile.compare(CLUSTER_FILE, cluster, CLUSTER)
    found.misread += fwfile.compare(found.options_file, host, HOST)
    misplaced = ("/etc/pve/firewall/host.fw", f"/etc/pve/firewall/{found.node}.fw")
    found.cluster_enable = fwfile.perl(cluster, CLUSTER).options.get("enable", "")
    found.misplaced = [file for file in misplaced if root.exists(file)]
    if parsed.refused:
        around.unread(
            "proxmox.options",
            f"proxmox-firewall refuses {found.options_file} because of line {parsed.ignored[0][0]} and keeps the "
            "rules it made before",
        )
    _guests(root, found, live(cluster, CLUSTER), live, around)


def _guests(root: Root, found: Proxmox, cluster: Reading, live: Callable[..., Reading], around: Around) -> None:
    """Fill in the guests; those whose files could not be read are told, not left out in silence."""

    def read_file(file: str) -> Reading | None:
        text = root.read_text(file)
        if text is None:
            return None
        found.misread += fwfile.compare(file, text, GUEST)
        return live(text, GUEST)

    try:
        found.guests = guests.read(root, found.node, read_file, cluster)
    except OSError as e:
        around.unread("proxmox.guests", f"{e.strerror}: {e.filename}")


def enabled(text: str, now: float) -> bool:
    """Return ``enable`` of cluster.fw: a number, where more than 1 is the time at which it was switched on."""
    value = int(fwfile.perl(text, CLUSTER).options.get("enable", "0"))
    return value == 1 or (value > 1 and now - value <= EPOCH_SECONDS)


def pending(root: Root) -> list[str] | None:
    """Return what the network configuration that waits would change; ``None`` where none waits.

    The GUI and the API write interfaces.new; "apply", and the service pvenetcommit at boot, rename it over the file.
    """
    new = root.read_text(PENDING)
    if new is None:
        return None
    now, then = _stanzas(root.read_text(NETWORK) or ""), _stanzas(new)
    changes = [f"- {_public(line)}" for line in now if line not in then]
    changes += [f"+ {_public(line)}" for line in then if line not in now]
    return changes[:MOST_PENDING]


def _stanzas(text: str) -> list[tuple[str, str]]:
    """Return the lines that mean something, each with the interface that it belongs to."""
    found, interface = [], ""
    for line in text.split("\n"):
        words = line.split()
        if words and not words[0].startswith("#"):
            if words[0] in {"iface", "auto"} and len(words) > 1:
                interface = words[1]
            found.append((interface, " ".join(words)))
    return found


def _public(line: tuple[str, str]) -> str:
    interface, text = line
    word = text.partition(" ")[0]
    shown = text if word.startswith(SHOWN) else f"{word} (not shown)"
    return shown if word in {"iface", "auto"} else f"{interface}: {shown}"


def _members(root: Root, around: Around) -> tuple[str, bool | None]:
    """Return the node's name and whether the cluster has quorum, from pmxcfs; a node of its own always has."""
    short = around.hostname.partition(".")[0]
    try:
        text = root.read_text("etc/pve/.members")
    except OSError as e:
        around.unread("proxmox.quorate", f"{e.strerror}: /etc/pve/.members")
        return short, None
    if text is None:
        return short, None
    import json  # noqa: PLC0415 - the agent itself prints with it, but only at its end

    try:
        members = json.loads(text)
        cluster = members.get("cluster")
        return str(members.get("nodename") or short), cluster is None or bool(cluster.get("quorate"))
    except (ValueError, AttributeError):
        around.unread("proxmox.quorate", "/etc/pve/.members is not what pmxcfs writes")
        return short, None
