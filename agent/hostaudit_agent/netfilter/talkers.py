"""Who fills the connection tracking table: the sources and the targets with the most entries, from a sample of them.

A dump walks the table in the order of its hash, which is keyed at random: each datagram is a fair sample. Looking at
some thousands of entries gives the large shares to within a percent, at a cost that does not grow with the table, and
with a dictionary that cannot grow beyond the sample, whoever forges the addresses.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

from hostaudit_agent.netlink import HEADER_SIZE, attributes, header

if TYPE_CHECKING:
    from typing import Optional, Tuple

    Tally = dict[bytes, int]

PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3
SAMPLE = 10_000
"""Entries looked at, about: the standard error of a share of 10 % is then 0.3 points."""
TOP = 5
# From the start of a message: nfgenmsg at 16, CTA_TUPLE_ORIG at 20, CTA_TUPLE_IP at 24, the attribute of the source
# address at 28 and that of the target behind it, CTA_TUPLE_PROTO with CTA_PROTO_NUM, _SRC_PORT and _DST_PORT
# (ctnetlink_dump_tuples in net/netfilter/nf_conntrack_netlink.c fills them in this order). What is looked at is
# compared with the headers of CTA_IP_V4_SRC and _DST, or _V6_, first.
_header = struct.Struct("=HH").pack
HEADERS: dict[int, tuple[int, bytes, bytes]] = {
    socket.AF_INET: (4, _header(8, 1), _header(8, 2)),
    socket.AF_INET6: (16, _header(20, 3), _header(20, 4)),
}
SOURCE_AT, PORT_SIZE = 32, 2


class Talkers:
    """Counts sources and targets in every ``step``-th datagram of a dump."""

    def __init__(self, entries: int) -> None:
        """``entries``: about how many the table has."""
        self.step = max(1, entries // SAMPLE)
        self.looked_at = 0
        self._datagrams = 0
        self._sources: Tally = {}
        self._targets: Tally = {}

    def add(self, buffer: bytearray, size: int) -> None:
        """Look at the entries of one datagram, when it is its turn."""
        self._datagrams += 1
        if (self._datagrams - 1) % self.step or self.looked_at >= 2 * SAMPLE:
            return
        unpack, offset = header.unpack_from, 0
        while offset + HEADER_SIZE <= size:
            length = unpack(buffer, offset)[0]
            if length < HEADER_SIZE or offset + length > size:
                return  # the count of the same datagram raises
            self._one(buffer[offset : offset + length])
            offset += (length + 3) & ~3

    def top(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the shares (0 to 1) of the largest sources and targets, ``10.0.0.1`` and ``tcp 10.0.0.2:443``."""
        return self._largest(self._sources), self._largest(self._targets)

    def _one(self, entry: bytearray) -> None:
        keys = _keys(entry)
        if keys is None:
            return
        self.looked_at += 1
        source, target = keys
        self._sources[source] = self._sources.get(source, 0) + 1
        self._targets[target] = self._targets.get(target, 0) + 1

    def _largest(self, tally: Tally) -> dict[str, float]:
        ranked = sorted(tally.items(), key=lambda item: (-item[1], item[0]))[:TOP]
        return {_text(key): round(number / self.looked_at, 3) for key, number in ranked}


def _keys(entry: bytearray) -> Optional[Tuple[bytes, bytes]]:
    """Return source address, and protocol, target address and port; ``None`` where the entry looks otherwise."""
    shape = HEADERS.get(entry[HEADER_SIZE]) if len(entry) > SOURCE_AT else None
    if shape is None:
        return None
    width, source_header, target_header = shape
    target = SOURCE_AT + width + 4
    if entry[SOURCE_AT - 4 : SOURCE_AT] != source_header or entry[target - 4 : target] != target_header:
        return None
    end = target + width
    nested = int.from_bytes(entry[end : end + 2], sys.byteorder)
    protocol = attributes(bytes(entry[end + 4 : end + nested]))
    number, port = protocol.get(CTA_PROTO_NUM, b""), protocol.get(CTA_PROTO_DST_PORT, b"\0\0")
    if len(number) != 1 or len(port) != PORT_SIZE:
        return None
    return bytes(entry[SOURCE_AT : SOURCE_AT + width]), number + port + bytes(entry[target:end])


def _text(key: bytes) -> str:
    if len(key) in {4, 16}:
        return _address(key)
    protocol, port, address = key[0], int.from_bytes(key[1:3], "big"), _address(key[3:])
    name = PROTOCOLS.get(protocol, str(protocol))
    if not port:
        return f"{name} {address}"
    return f"{name} [{address}]:{port}" if ":" in address else f"{name} {address}:{port}"


def _address(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
