"""The options of the firewall's files, and the values that each implementation takes.

pve-firewall: ``parse_hostfw_option``, ``parse_clusterfw_option`` and ``parse_vmfw_option`` of src/PVE/Firewall.pm; keys
in any case, booleans exactly 0 or 1. proxmox-firewall: ``Options`` of host.rs, cluster.rs and guest.rs in
proxmox-ve-config/src/firewall; keys in lower case, unknown ones are skipped whatever they hold.
"""

from __future__ import annotations

import re

CLUSTER, HOST, GUEST = "cluster", "host", "guest"

BOOLEANS = {
    HOST: frozenset((
        "enable", "nosmurfs", "tcpflags", "ndp", "log_nf_conntrack", "nf_conntrack_allow_invalid",
        "protection_synflood", "nftables",
    )),
    CLUSTER: frozenset(("ebtables",)),
    GUEST: frozenset(("enable", "dhcp", "ndp", "radv", "macfilter", "ipfilter", "ips")),
}  # fmt: skip
NUMBERS = {
    HOST: frozenset((
        "nf_conntrack_max", "nf_conntrack_tcp_timeout_established", "nf_conntrack_tcp_timeout_syn_recv",
        "protection_synflood_rate", "protection_synflood_burst", "protection_limit",
    )),
    CLUSTER: frozenset(("enable",)),
    GUEST: frozenset(),
}  # fmt: skip
LOG_KEYS = {
    HOST: frozenset((
        "log_level_in", "log_level_out", "log_level_forward", "tcp_flags_log_level", "smurf_log_level",
    )),
    CLUSTER: frozenset(),
    GUEST: frozenset(("log_level_in", "log_level_out")),
}  # fmt: skip
POLICIES = {
    HOST: frozenset(),
    CLUSTER: frozenset(("policy_in", "policy_out", "policy_forward")),
    GUEST: frozenset(("policy_in", "policy_out")),
}
OTHERS = {
    HOST: frozenset(("nf_conntrack_helpers",)),
    CLUSTER: frozenset(("log_ratelimit",)),
    GUEST: frozenset(("ips_queues", "layer2_protocols")),
}
KEYS = {
    kind: BOOLEANS[kind] | NUMBERS[kind] | LOG_KEYS[kind] | POLICIES[kind] | OTHERS[kind]
    for kind in (CLUSTER, HOST, GUEST)
}
PERL_ONLY = frozenset(("ips", "ips_queues", "layer2_protocols", "protection_limit"))
"""Options that proxmox-firewall does not have, and so never refuses."""
LEVELS = frozenset(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"))
HELPERS = frozenset(("amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"))
VERDICTS = frozenset(("ACCEPT", "DROP", "REJECT"))
TRUE, FALSE = frozenset(("1", "true", "on", "yes")), frozenset(("0", "false", "off", "no"))

OPTION = re.compile(r"(\w+):\s*(.*?)\s*", re.ASCII)
_SIGNED = re.compile(r"[+-]?\d+", re.ASCII)


def perl(kind: str, key: str, value: str) -> str | None:
    """Return what pve-firewall makes of ``key: value``; ``None`` where it ignores the line. ``key`` is lower case."""
    if key in BOOLEANS[kind]:
        return value if value in {"0", "1"} else None
    if key in NUMBERS[kind]:
        return str(int(value)) if value.isdecimal() else None
    if key in LOG_KEYS[kind]:
        return value.lower() if not value or value.lower() in LEVELS else None
    if key in POLICIES[kind]:
        return value.upper() if value.upper() in VERDICTS else None
    if key == "nf_conntrack_helpers" and kind == HOST:
        return value.lower() if value and set(value.lower().split(",")) <= HELPERS else None
    return value if key in OTHERS[kind] and value and not re.search(r"\s", value) else None


def rust(kind: str, key: str, value: str) -> str | None:
    """Return what proxmox-firewall makes of ``key: value``; ``None`` where it refuses the file for it.

    A value of a key that it does not have comes back as it is: the caller knows the keys.
    """
    lower = value.lower()
    if key in PERL_ONLY or key not in KEYS[kind]:
        return value
    if key in BOOLEANS[kind] or (kind == CLUSTER and key == "enable"):
        return "1" if lower in TRUE else "0" if lower in FALSE else None
    if key in NUMBERS[kind]:
        return str(int(value)) if _SIGNED.fullmatch(value) else None
    if key in LOG_KEYS[kind]:
        return value if value in LEVELS or value == "warn" else None
    if key in POLICIES[kind]:
        return value.upper() if value.upper() in VERDICTS else None
    return value
