"""host.fw of a Proxmox VE node as upstream's parser reads it; the stand-ins for its programs share it, on the node.

Source: pve-firewall src/PVE/Firewall.pm; which lines are ignored was checked against the real code.
"""

import hashlib
import re
import socket
from pathlib import Path

PVE = Path("/etc/pve")
BOOLEAN, LEVEL = "0|1", "emerg|alert|crit|err|warning|notice|info|debug|nolog"
HELPER = "amanda|ftp|irc|netbios-ns|pptp|sane|sip|snmp|tftp"
BOOLEANS = [
    "enable",
    "nf_conntrack_allow_invalid",
    "log_nf_conntrack",
    "nosmurfs",
    "tcpflags",
    "ndp",
    "protection_synflood",
    "nftables",
]
NUMBERS = {
    "nf_conntrack_max": range(32768, 1 << 31),
    "nf_conntrack_tcp_timeout_established": range(7875, 1 << 31),
    "nf_conntrack_tcp_timeout_syn_recv": range(30, 61),
    "protection_synflood_rate": range(1 << 31),
    "protection_synflood_burst": range(1 << 31),
}
SYNTAX = (
    dict.fromkeys(BOOLEANS, BOOLEAN)
    | dict.fromkeys(NUMBERS, r"\d+")
    | dict.fromkeys(
        ["log_level_in", "log_level_out", "log_level_forward", "tcp_flags_log_level", "smurf_log_level"], LEVEL
    )
    | {"nf_conntrack_helpers": f"(?:{HELPER})(?:,(?:{HELPER}))*"}
)


def node() -> str:
    return socket.gethostname().partition(".")[0]


def host_fw() -> Path:
    return PVE / "nodes" / node() / "host.fw"


def parse(text: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Return options, rules and warnings of a host.fw; what is warned about is ignored."""
    options: dict[str, str] = {}
    rules: list[str] = []
    warnings = []
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t")
        if not line or line.startswith("#"):
            continue
        if re.fullmatch(r"\[(options|rules)\]", line, re.IGNORECASE):
            section = line.lower()
        elif section == "[rules]" and re.match(r"\|?(IN|OUT|FORWARD|GROUP)\s", line):
            rules.append(line)
        elif section == "[options]" and (found := option(line)):
            options[found[0]] = found[1]
        else:
            warnings.append(f"{host_fw()} (line {number}) - ignore line: {line}")
    return options, rules, warnings


def option(line: str) -> tuple[str, str] | None:
    """Return name and value of a line of [OPTIONS]; None where it does not parse."""
    name, colon, value = line.partition(":")
    name, value = name.lower(), value.strip().lower()
    return (name, value) if colon and name in SYNTAX and re.fullmatch(SYNTAX[name], value, re.ASCII) else None


def load(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def digest(options: dict[str, str]) -> str:
    """Return the sum of the parsed options: blind to rules and comments."""
    return hashlib.sha1("".join(f"{k}:{v}\n" for k, v in sorted(options.items())).encode()).hexdigest()  # noqa: S324 - as upstream
