"""Targets of xtables that change packets: NAT and TCPMSS, in the structures that both back ends share.

Layouts: include/uapi/linux/netfilter/nf_nat.h (nf_nat_ipv4_multi_range_compat, nf_nat_range, nf_nat_range2) and
xt_TCPMSS.h, on a 64-bit kernel.
"""

from __future__ import annotations

import socket
import struct

NAT = {"MASQUERADE": "masquerade", "SNAT": "snat", "DNAT": "dnat", "REDIRECT": "redirect", "NETMAP": "snat"}
MAP_ADDRESSES, PROTO_SPECIFIED, RANDOM, PERSISTENT, FULLY = 1, 2, 4, 8, 16  # NF_NAT_RANGE_*
PMTU = 0xFFFF  # XT_TCPMSS_CLAMP_PMTU
IPV4_COMPAT = 20  # of nf_nat_ipv4_multi_range_compat: count, flags, two addresses, two ports


class Range:
    """What a NAT target says: flags, first and last address, first and last port."""

    __slots__ = ("first", "flags", "high", "last", "low")

    def __init__(self, info: bytes, family: str) -> None:
        if len(info) < IPV4_COMPAT:
            raise ValueError(f"NAT target of {len(info)} bytes")
        if len(info) < 40:
            (self.flags,) = struct.unpack_from("=I", info, 4)
            first, last, self.low, self.high = struct.unpack_from(">4s4sHH", info, 8)
        else:
            self.flags = struct.unpack_from("=I", info)[0]
            size = 4 if family == "ip" else 16
            first, last = info[4 : 4 + size], info[20 : 20 + size]
            self.low, self.high = struct.unpack_from(">HH", info, 36)
        domain = socket.AF_INET if len(first) == 4 else socket.AF_INET6
        self.first, self.last = socket.inet_ntop(domain, first), socket.inet_ntop(domain, last)


def nat_text(name: str, info: bytes, family: str) -> str:
    """Return a NAT target as iptables-save prints it."""
    found = Range(info, family)
    ports = ""
    if found.flags & PROTO_SPECIFIED:
        ports = str(found.low) if found.low == found.high else f"{found.low}-{found.high}"
    text = f"-j {name}"
    if name in ("SNAT", "DNAT"):
        to = found.first if found.first == found.last else f"{found.first}-{found.last}"
        to = to if found.flags & MAP_ADDRESSES else ""
        to = f"[{to}]" if ":" in to and ports else to
        text += f" --to-{'source' if name == 'SNAT' else 'destination'} {to}{':' if ports else ''}{ports}"
    elif ports:
        text += f" --to-ports {ports}"
    for bit, option in ((RANDOM, "--random"), (FULLY, "--random-fully"), (PERSISTENT, "--persistent")):
        text += f" {option}" if found.flags & bit else ""
    return text


def mss(info: bytes) -> str:
    """Return the size that a TCPMSS target sets: ``pmtu`` or bytes."""
    (size,) = struct.unpack_from("=H", info)
    return "pmtu" if size == PMTU else str(size)


def text(name: str, info: bytes, family: str) -> str:
    """Return one of these targets as iptables-save prints it; empty for any other."""
    if name == "TCPMSS" and len(info) >= 2:
        size = mss(info)
        return f"-j TCPMSS {'--clamp-mss-to-pmtu' if size == 'pmtu' else f'--set-mss {size}'}"
    if name in ("MASQUERADE", "SNAT", "DNAT", "REDIRECT") and len(info) >= IPV4_COMPAT:
        return nat_text(name, info, family)
    return ""


def marked(name: str, info: bytes) -> bool:
    """Tell whether a match looks at a mark: KUBE-POSTROUTING masquerades what a mark chose."""
    return name in ("mark", "connmark") and len(info) > 0
