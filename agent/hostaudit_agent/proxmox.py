"""A Proxmox VE node: its version, and what the live implementation of its firewall reads from host.fw.

Two programs read the same file differently. pve-firewall (Perl, src/PVE/Firewall.pm) ignores every line that it does
not know and keeps the rest. proxmox-firewall (Rust, proxmox-ve-config/src/firewall) takes more spellings, but one bad
value, a key that is given twice, an unknown section or a line before any section makes it refuse the whole file, and
the rules stay as they were. Only [OPTIONS] is read here.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.snapshot import Proxmox

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hostaudit_agent.root import Root


CLUSTER = "etc/pve/firewall/cluster.fw"
NFTABLES_DAEMON = "usr/libexec/proxmox/proxmox-firewall"
FORCE_DISABLE = "run/proxmox-nftables-firewall-force-disable"
DAEMONS = {"iptables": "pve-firewall", "nftables": "proxmox-firewal"}
"""Process names, of which the kernel keeps 15 bytes."""
EPOCH_SECONDS = 60
"""``enable: <unix time>`` is on for that long."""

BOOLEANS = frozenset((
    "enable", "nosmurfs", "tcpflags", "ndp", "log_nf_conntrack", "nf_conntrack_allow_invalid", "protection_synflood",
    "nftables",
))  # fmt: skip
NUMBERS = frozenset((
    "nf_conntrack_max", "nf_conntrack_tcp_timeout_established", "nf_conntrack_tcp_timeout_syn_recv",
    "protection_synflood_rate", "protection_synflood_burst", "protection_limit",
))  # fmt: skip
LOG_KEYS = frozenset((
    "log_level_in", "log_level_out", "log_level_forward", "tcp_flags_log_level", "smurf_log_level",
))  # fmt: skip
LEVELS = frozenset(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"))
HELPERS = frozenset(("amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"))
KEYS = BOOLEANS | NUMBERS | LOG_KEYS | {"nf_conntrack_helpers"}
TRUE, FALSE = frozenset(("1", "true", "on", "yes")), frozenset(("0", "false", "off", "no"))

_OPTION = re.compile(r"(\w+):\s*(.*?)\s*", re.ASCII)


class Options(NamedTuple):
    """What one implementation makes of the file's [OPTIONS]."""

    options: dict[str, str]
    ignored: list[tuple[int, str]]
    """Line number and text of the lines that it does not take."""
    refused: bool = False
    """It does not load the file at all."""


def read(
    root: Root, version: str | None, hostname: str, commands: Collection[str], unread: Callable[[str, str], None]
) -> Proxmox | None:
    """Return what there is of Proxmox VE; ``None`` on any other machine.

    ``version`` is that of the package pve-manager, ``commands`` the names of all processes.
    """
    mounted = root.exists("etc/pve/.version")
    if version is None and not mounted and not root.exists("etc/pve/nodes"):
        return None
    node, quorate = _members(root, hostname, unread)
    found = Proxmox(version or "", node, mounted, quorate, options_file=f"/etc/pve/nodes/{node}/host.fw")
    if not mounted and not root.exists("etc/pve/nodes"):
        unread("proxmox", "/etc/pve is not mounted; is pve-cluster running?")
        return found
    try:
        text = root.read_text(CLUSTER)
        found.cluster_enabled = None if text is None else enabled(text, time.time())
        text = root.read_text(found.options_file) or ""
    except OSError as e:
        unread("proxmox", f"{e.strerror}: {e.filename}")
        return found
    _judge(root, found, text, commands, unread)
    return found


def _judge(
    root: Root, found: Proxmox, text: str, commands: Collection[str], unread: Callable[[str, str], None]
) -> None:
    """Fill in which implementation is live and what it reads."""
    parsed = perl(text)
    nftables = (
        parsed.options.get("nftables") == "1"
        and os.access(root.path(NFTABLES_DAEMON), os.X_OK)
        and not root.exists(FORCE_DISABLE)
    )
    found.implementation = ("nftables" if nftables else "iptables") if found.cluster_enabled else "off"
    if found.cluster_enabled:
        found.running = DAEMONS[found.implementation] in commands
    if nftables:
        parsed = rust(text)
    found.options = parsed.options
    found.ignored = [f"{found.options_file}:{number}: {line}" for number, line in parsed.ignored]
    if parsed.refused:
        unread(
            "proxmox.options",
            f"proxmox-firewall refuses {found.options_file} because of line {parsed.ignored[0][0]} and keeps the "
            "rules it made before",
        )


def enabled(text: str, now: float) -> bool:
    """Return ``enable`` of cluster.fw: a number, where more than 1 is the time until which it was switched on."""
    value, section = 0, ""
    for _, line in _lines(text):
        if line.startswith("["):
            section = line.lower()
        match = _OPTION.fullmatch(line)
        if section == "[options]" and match and match.group(1).lower() == "enable" and match.group(2).isdecimal():
            value = int(match.group(2))
    return value == 1 or (value > 1 and now - value <= EPOCH_SECONDS)


def perl(text: str) -> Options:
    """Parse host.fw as pve-firewall does: what it does not know it skips, and the last of several lines wins."""
    options: dict[str, str] = {}
    ignored: list[tuple[int, str]] = []
    section = ""
    for number, line in _lines(text):
        if line.lower() in {"[options]", "[rules]"}:
            section = line.lower()
            continue
        match = _OPTION.fullmatch(line)
        key, value = (match.group(1).lower(), match.group(2)) if match else ("", "")
        if section == "[rules]":
            if key in KEYS:
                ignored.append((number, line))
            continue
        taken = _perl_value(key, value) if section else None
        if taken is None:
            ignored.append((number, line))
        else:
            options[key] = taken
    return Options(options, ignored)


def _perl_value(key: str, value: str) -> str | None:
    lower = value.lower()
    if key in BOOLEANS:
        return value if value in {"0", "1"} else None
    if key in NUMBERS:
        return str(int(value)) if value.isdecimal() else None
    if key in LOG_KEYS:
        return lower if not value or lower in LEVELS else None
    if key == "nf_conntrack_helpers":
        return lower if lower and set(lower.split(",")) <= HELPERS else None
    return None


def rust(text: str) -> Options:
    """Parse host.fw as proxmox-firewall does: the first line that it does not understand refuses the file."""
    options: dict[str, str] = {}
    bad: list[tuple[int, str]] = []
    unknown: list[tuple[int, str]] = []
    seen: set[str] = set()
    section = ""
    for number, line in _lines(text, also="\r"):
        if line.lower() in {"[options]", "[rules]"}:
            section = line.lower()
            continue
        key, colon, value = (part.strip() for part in line.partition(":"))
        if section == "[rules]" and not line.startswith("["):
            if colon and key.lower() in KEYS:
                bad.append((number, line))
            continue
        taken = _rust_value(key, value)
        if not section or line.startswith("[") or not colon or key in seen or taken is None:
            bad.append((number, line))
        elif key in KEYS:
            options[key] = taken
        else:
            unknown.append((number, line))
        seen.add(key)
    return Options({}, bad, refused=True) if bad else Options(options, unknown)


def _rust_value(key: str, value: str) -> str | None:
    """Return the value, ``None`` where it does not parse. Unknown keys are skipped whatever their value."""
    lower = value.lower()
    if key in BOOLEANS:
        return "1" if lower in TRUE else "0" if lower in FALSE else None
    if key in NUMBERS:
        return str(int(value)) if re.fullmatch(r"[+-]?\d+", value, re.ASCII) else None
    if key in LOG_KEYS:
        return lower if lower in LEVELS or lower == "warn" else None
    return value


def _lines(text: str, also: str = "") -> list[tuple[int, str]]:
    """Return number and text of the lines that are neither empty nor a comment."""
    stripped = ((number, line.strip(" \t" + also)) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in stripped if line.strip() and not line.startswith("#")]


def _members(root: Root, hostname: str, unread: Callable[[str, str], None]) -> tuple[str, bool | None]:
    """Return the node's name and whether the cluster has quorum, from pmxcfs; a node of its own always has."""
    short = hostname.partition(".")[0]
    try:
        text = root.read_text("etc/pve/.members")
    except OSError as e:
        unread("proxmox.quorate", f"{e.strerror}: /etc/pve/.members")
        return short, None
    if text is None:
        return short, None
    import json  # noqa: PLC0415 - only a Proxmox node needs the decoder

    try:
        members = json.loads(text)
        cluster = members.get("cluster")
        return str(members.get("nodename") or short), cluster is None or bool(cluster.get("quorate"))
    except (ValueError, AttributeError):
        unread("proxmox.quorate", "/etc/pve/.members is not what pmxcfs writes")
        return short, None
