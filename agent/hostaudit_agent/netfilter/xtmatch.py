"""Matches and targets of xtables: their binary form, and the text that iptables-save prints for them.

The same structures come from ip_tables (getsockopt) and, inside nf_tables' ``match`` and ``target`` expressions, from
rules that iptables-nft made. Layouts: include/uapi/linux/netfilter/xt_*.h, on a 64-bit kernel.
"""

from __future__ import annotations

import struct

from hostaudit_agent.netfilter import xtalter

# XT_CONNTRACK_STATE_* and XT_STATE_* (xt_conntrack.h, xt_state.h), in the order in which iptables prints them.
CONNTRACK_BITS = {"INVALID": 1, "NEW": 8, "RELATED": 4, "ESTABLISHED": 2, "UNTRACKED": 256, "SNAT": 64, "DNAT": 128}
STATE_BITS = {"INVALID": 1, "NEW": 8, "RELATED": 4, "ESTABLISHED": 2, "UNTRACKED": 64}
CONNTRACK_STATE = 1  # XT_CONNTRACK_STATE in match_flags and invert_flags
ANY_TYPE = 255  # of struct ipt_icmp: no type is asked for
STATE_ALIAS = 1 << 13  # XT_CONNTRACK_STATE_ALIAS: written as ``-m state --state``
CONNTRACK_FLAGS_AT = 146  # of xt_conntrack_mtinfo1..3: four address pairs, expiry, protocol and ports come before
CT_NOTRACK, CT_NOTRACK_ALIAS = 1, 2  # XT_CT_NOTRACK; XT_CT_NOTRACK_ALIAS: written as ``-j NOTRACK``
VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
# Targets that let the packet go on to the next rule.
PASSING = frozenset(
    (
        *("AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "HL", "HMARK", "IDLETIMER", "LED"),
        *("LOG", "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS"),
        *("TRACE", "TTL", "ULOG"),
    )
)
REJECT_WITH = {
    "ip": (
        *("icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable"),
        *("echo-reply", "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"),
    ),
    "ip6": (
        *("icmp6-no-route", "icmp6-adm-prohibited", "icmp6-not-neighbour", "icmp6-addr-unreachable"),
        *("icmp6-port-unreachable", "echo-reply", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route"),
    ),
}
SAFE = frozenset("_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Unknown(ValueError):  # noqa: N818 - it is an answer, not a failure
    """A revision or size of a state match that this program does not know."""


def _conntrack(revision: int, info: bytes) -> tuple[int, int, int]:
    """Return state mask, match flags and invert flags of xt_conntrack_mtinfo1, 2 or 3."""
    layout = {1: "=HHB", 2: "=HHH", 3: "=HHH"}.get(revision)
    if layout is None or len(info) < CONNTRACK_FLAGS_AT + struct.calcsize(layout):
        raise Unknown(f"conntrack match of revision {revision}, {len(info)} bytes")
    flags, invert, mask = struct.unpack_from(layout, info, CONNTRACK_FLAGS_AT)
    return mask, flags, invert


def states(name: str, revision: int, info: bytes) -> set[str] | None:
    """Return the states that a match lets through, ``None`` when it does not look at the state.

    For a packet without connection, that is INVALID, xt_conntrack decides by the state alone and ignores its other
    conditions (conntrack_mt in net/netfilter/xt_conntrack.c), so they do not narrow the rule.
    """
    if name == "conntrack":
        mask, flags, invert = _conntrack(revision, info)
        if not flags & CONNTRACK_STATE:
            return None
        inverted, bits = bool(invert & CONNTRACK_STATE), CONNTRACK_BITS
    elif name == "state":
        if len(info) < 4:
            raise Unknown(f"state match of {len(info)} bytes")
        mask, inverted, bits = struct.unpack_from("=I", info)[0], False, STATE_BITS
    else:
        return None
    if inverted:  # SNAT and DNAT are marks on top of the state
        return {state for state, bit in bits.items() if not mask & bit and state not in ("SNAT", "DNAT")}
    return {state for state, bit in bits.items() if mask & bit}


def icmp_meets(info: bytes, kind: int, code: int) -> bool:
    """Tell whether struct ipt_icmp (or ip6t_icmp) matches: type, first and last code, inversion."""
    if len(info) < 4:
        raise Unknown(f"icmp match of {len(info)} bytes")
    meets = info[0] == ANY_TYPE or (info[0] == kind and info[1] <= code <= info[2])
    return meets != bool(info[3])


def match_text(name: str, revision: int, info: bytes) -> str:
    """Return a match as iptables-save prints it; ``-m name ...`` where its options are not decoded."""
    if name == "conntrack":
        mask, flags, invert = _conntrack(revision, info)
        shown = ",".join(state for state, bit in CONNTRACK_BITS.items() if mask & bit)
        if not flags & CONNTRACK_STATE:
            return "-m conntrack ..."
        module, option = ("state", "--state") if flags & STATE_ALIAS else ("conntrack", "--ctstate")
        inverted = " !" if invert & CONNTRACK_STATE else ""
        more = " ..." if flags & ~(CONNTRACK_STATE | STATE_ALIAS) else ""
        return f"-m {module}{inverted} {option} {shown}{more}"
    if name == "state":
        return "-m state --state " + ",".join(s for s, bit in STATE_BITS.items() if info[0] & bit)
    if name == "comment":
        return "-m comment --comment " + quoted(string(info))
    if name == "physdev" and len(info) >= 66:
        return "-m physdev" + _physdev(info)
    if name == "mark" and len(info) >= 9:  # xt_mark_mtinfo1: mark, mask, inversion
        mark, mask = struct.unpack_from("=II", info)
        shown = f"{mark:#x}" if mask == 0xFFFFFFFF else f"{mark:#x}/{mask:#x}"
        return f"-m mark{' !' if info[8] else ''} --mark {shown}"
    if name in ("icmp", "icmp6") and len(info) >= 4:
        kind = "any" if info[0] == ANY_TYPE else str(info[0]) + (f"/{info[1]}" if info[1] == info[2] else "")
        return f"-m {name}{' !' if info[3] else ''} --{'icmp' if name == 'icmp' else 'icmpv6'}-type {kind}"
    if name in ("tcp", "udp") and len(info) >= 10:
        return f"-m {name}" + _ports(name, info)
    return f"-m {name} ..."


def _physdev(info: bytes) -> str:
    """xt_physdev_info: name and mask in, name and mask out, inversions, and which of them are used."""
    invert, used = info[64], info[65]
    text = ""
    for bit, option, value in (
        (8, "--physdev-is-in", ""),
        (1, "--physdev-in", " " + interface(info[0:16], info[16:32])),
        (16, "--physdev-is-out", ""),
        (2, "--physdev-out", " " + interface(info[32:48], info[48:64])),
        (4, "--physdev-is-bridged", ""),
    ):
        if used & bit:
            text += f"{' !' if invert & bit else ''} {option}{value}"
    return text


def _ports(name: str, info: bytes) -> str:
    """xt_tcp and xt_udp: source and destination port ranges first; then option and flags (tcp), inversions."""
    low, high, dlow, dhigh = struct.unpack_from("=4H", info)
    invert = info[11] if name == "tcp" and len(info) >= 12 else info[8]
    text = ""
    for bit, option, first, last in ((1, "--sport", low, high), (2, "--dport", dlow, dhigh)):
        if (first, last) != (0, 0xFFFF):
            ports = str(first) if first == last else f"{first}:{last}"
            text += f"{' !' if invert & bit else ''} {option} {ports}"
    if name == "tcp" and (info[8] or info[9]):  # --tcp-option, --tcp-flags
        text += " ..."
    return text


def target_text(name: str, info: bytes, family: str) -> str:
    """Return a target that is not a chain: ``-j REJECT --reject-with tcp-reset``."""
    if name == "REJECT" and len(info) >= 4:
        kinds, number = REJECT_WITH.get(family, ()), struct.unpack_from("=I", info)[0]
        if number < len(kinds):
            return f"-j REJECT --reject-with {kinds[number]}"
    if is_notrack(name, info):
        alias = name == "NOTRACK" or info[:2] == struct.pack("=H", CT_NOTRACK | CT_NOTRACK_ALIAS)
        return "-j NOTRACK" if alias else "-j CT --notrack"
    if shown := xtalter.text(name, info, family):
        return shown
    return f"-j {name} ..." if info.strip(b"\0") else f"-j {name}"


def is_notrack(name: str, info: bytes) -> bool:
    """Tell whether a target exempts packets from tracking: xt_ct_target_info begins with its flags (u16)."""
    if name == "CT" and len(info) >= 2:
        return bool(struct.unpack_from("=H", info)[0] & CT_NOTRACK)
    return name == "NOTRACK"


def string(raw: bytes) -> str:
    """Return a NUL-terminated field of fixed size."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def interface(name: bytes, mask: bytes) -> str:
    """Return an interface name; ``+`` at its end where the mask leaves the rest open."""
    shown = string(name).rstrip("+")
    length = len(mask.rstrip(b"\0"))
    return shown if length > len(shown.encode()) else shown + "+"


def quoted(value: str) -> str:
    """Return a string as iptables-save quotes it (xtables_save_string)."""
    if value and SAFE.issuperset(value):
        return value
    return '"' + "".join("\\" + c if c in "\"\\'" else c for c in value) + '"'
