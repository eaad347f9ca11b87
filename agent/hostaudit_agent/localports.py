"""Which local ports connect() may choose (Documentation/networking/ip-sysctl.rst, ip_local_port_range)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hostaudit_agent import bitlist

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"


def usable(root: Root, listening: set[int]) -> tuple[bytearray, int | None]:
    """Return a flag for every port in network order that connect() may choose, and how many there are.

    A listener's port is in none of the flags: connections that it accepted all have it, and are not by connect().
    """
    flags = bytearray(1 << 16)
    bounds = (root.read_text(RANGE) or "").split()
    if len(bounds) != 2:
        return flags, None
    low, high = int(bounds[0]), int(bounds[1])
    flags[low : high + 1] = b"\1" * (high + 1 - low)
    for first, last in bitlist.ranges(root.read_text(RESERVED) or ""):
        flags[first : last + 1] = bytes(last + 1 - first)
    number = flags.count(1)
    if sys.byteorder == "little":  # port 0x1234 is 0x3412 in network order: a square of bytes, transposed
        ours = bytes(flags)
        for byte in range(256):
            flags[byte::256] = ours[byte << 8 : byte + 1 << 8]
    for port in listening:
        flags[port] = 0
    return flags, number
