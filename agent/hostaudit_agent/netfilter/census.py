"""Counts the entries of the connection tracking table by kind, from ctnetlink dumps.

One message per entry (include/uapi/linux/netfilter/nfnetlink_conntrack.h): nfgenmsg, then CTA_TUPLE_ORIG and
CTA_TUPLE_REPLY, CTA_STATUS and, for TCP, CTA_PROTOINFO. Which attributes stand between these depends on the kernel and
on what is switched on, so offsets are learned per (message length, family, protocol) from one entry, and the attribute
headers at the learned places are compared in every further one. That is several times cheaper than walking all
attributes, and a table can have a million entries.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import TYPE_CHECKING, Tuple

from hostaudit_agent.budget import fair
from hostaudit_agent.netfilter.talkers import PROTOCOLS, Talkers
from hostaudit_agent.netlink import HEADER_SIZE, attribute, attributes, header, walk
from hostaudit_agent.snapshot import Census

if TYPE_CHECKING:
    from hostaudit_agent.netlink import Netlink

CT_NEW, CT_GET = 0x100, 0x101  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
CTA_TUPLE_ORIG, CTA_STATUS, CTA_PROTOINFO, CTA_STATUS_MASK = 1, 3, 4, 26
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
IPS_SEEN_REPLY = 1 << 1
TCP, SYN_SENT = 6, 1
# enum tcp_conntrack in include/uapi/linux/netfilter/nf_conntrack_tcp.h
TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT"),
    *("CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
MAX_ENTRIES = 1_000_000
"""About two seconds of CPU. Memory does not depend on it."""
MAX_ONE_SIDED = 64
NFGENMSG = bytes(4)  # AF_UNSPEC: both families; AF_INET would leave IPv6 out without a word
FIRST_ATTRIBUTE = HEADER_SIZE + len(NFGENMSG)
# From the start of a message to CTA_PROTO_NUM of its first tuple, for two IPv4 and for two IPv6 addresses: behind the
# headers of CTA_TUPLE_ORIG, CTA_TUPLE_IP, both addresses, CTA_TUPLE_PROTO and CTA_PROTO_NUM.
PROTOCOL_AT = (52, 76)
STATE_AT = 12  # behind the headers of CTA_PROTOINFO, CTA_PROTOINFO_TCP and CTA_PROTOINFO_TCP_STATE

Kind = Tuple[int, int, int, int]
"""Address family, L4 protocol, TCP state (0 for others), IPS_SEEN_REPLY or 0."""
Layout = Tuple[int, int, bytes, int, int, bytes]
"""Start, end and bytes of the attribute headers before the status (u32) and, for TCP, before the state (u8)."""


def count(nl: Netlink, limit: int = MAX_ENTRIES, expected: int = 0) -> Census:
    """Count the entries of both address families, about ``limit`` of them at most. OSError where the dump fails.

    ``expected``: about how many entries there are, which decides how many of them are asked where they come from.
    """
    talkers = Talkers(expected)
    kinds, waiting, truncated = _scan(nl, NFGENMSG, limit, nl.timeout / 2, talkers)
    census = Census(sum(kinds.values()), 0, 0, {}, {}, 0, truncated=truncated, one_sided=waiting)
    census.sampled, (census.sources, census.targets) = talkers.looked_at, talkers.top()
    for (family, protocol, state, replied), number in sorted(kinds.items()):
        if family == socket.AF_INET:
            census.ipv4 += number
        else:
            census.ipv6 += number
        _add(census.protocols, PROTOCOLS.get(protocol, str(protocol)), number)
        if protocol == TCP:
            _add(census.tcp, TCP_STATES[state] if state < len(TCP_STATES) else str(state), number)
        if not replied:
            census.unreplied += number
    return census


def one_sided(nl: Netlink, limit: int = MAX_ENTRIES, seconds: float = 1.0) -> Census:
    """Return the TCP entries that wait for a SYN-ACK, with 0 for all totals but ``unreplied``.

    The kernel filters by status since 5.15, which spares it filling the other entries and us reading them. Older ones
    ignore the filter without a word: every record is looked at, and the bounds hold for what was received.
    """
    bits = struct.Struct(">I").pack
    request = NFGENMSG + attribute(CTA_STATUS, bits(0)) + attribute(CTA_STATUS_MASK, bits(IPS_SEEN_REPLY))
    kinds, waiting, _ = _scan(nl, request, limit, seconds)
    unreplied = sum(number for kind, number in kinds.items() if not kind[3])
    return Census(0, 0, 0, {}, {}, unreplied, truncated=True, one_sided=waiting)


def _add(counts: dict[str, int], name: str, number: int) -> None:
    counts[name] = counts.get(name, 0) + number


def _scan(
    nl: Netlink, request: bytes, limit: int, seconds: float, talkers: Talkers | None = None
) -> tuple[dict[Kind, int], list[str], bool]:
    """Return entries by kind, tuples that wait for a SYN-ACK, and whether a bound was reached."""
    kinds: dict[Kind, int] = {}
    waiting: list[str] = []
    layouts: dict[tuple[int, int, int], Layout] = {}
    deadline = time.monotonic() + fair(seconds)
    for buffer, size in nl.stream(CT_GET, request):
        try:
            limit -= _tally(buffer, size, layouts, kinds, waiting)
            if talkers is not None:
                talkers.add(buffer, size)
        except (IndexError, KeyError, struct.error):
            raise OSError(errno.EBADMSG, "malformed conntrack entry") from None
        if limit <= 0 or time.monotonic() > deadline:
            return kinds, sorted(waiting), True
    return kinds, sorted(waiting), False


def _tally(
    buffer: bytearray,
    size: int,
    layouts: dict[tuple[int, int, int], Layout],
    kinds: dict[Kind, int],
    waiting: list[str],
) -> int:
    """Add the entries of one datagram to ``kinds`` and return their number. This loop is the whole cost."""
    unpack, offset, entries = header.unpack_from, 0, 0
    while offset + HEADER_SIZE <= size:
        length, message, _, _, _ = unpack(buffer, offset)
        if length < HEADER_SIZE or offset + length > size:
            raise OSError(errno.EBADMSG, f"malformed conntrack entry of {length} bytes")
        if message == CT_NEW:
            family = buffer[offset + HEADER_SIZE]
            protocol = buffer[offset + PROTOCOL_AT[family == socket.AF_INET6]]
            key = (length, family, protocol)
            layout = layouts.get(key)
            if (
                layout is None
                or buffer[offset + layout[0] : offset + layout[1]] != layout[2]
                or buffer[offset + layout[3] : offset + layout[4]] != layout[5]
            ):
                layout = layouts[key] = _learn(bytes(buffer[offset : offset + length]), protocol)
            state = buffer[offset + layout[4]] if protocol == TCP else 0
            replied = buffer[offset + layout[1] + 3] & IPS_SEEN_REPLY
            kind = (family, protocol, state, replied)
            kinds[kind] = kinds.get(kind, 0) + 1
            if state == SYN_SENT and not replied and protocol == TCP and len(waiting) < MAX_ONE_SIDED:
                waiting.append(tuple_text(attributes(bytes(buffer[offset + FIRST_ATTRIBUTE : offset + length]))))
            entries += 1
        offset += (length + 3) & ~3
    return entries


def _learn(entry: bytes, protocol: int) -> Layout:
    """Return where status and TCP state stand in an entry like this one; OSError (EBADMSG) where they do not."""
    status = state = (0, 0)
    offset, end = FIRST_ATTRIBUTE, len(entry)
    for kind, value in walk(entry, offset, end):
        size = 4 + len(value)
        if kind == CTA_TUPLE_ORIG and attributes(attributes(value)[CTA_TUPLE_PROTO])[CTA_PROTO_NUM][0] != protocol:
            raise OSError(errno.EBADMSG, "a conntrack entry of unknown layout")
        if kind == CTA_STATUS and size >= 8:
            status = (offset, offset + 4)
        elif kind == CTA_PROTOINFO and size >= STATE_AT + 1:
            state = (offset, offset + STATE_AT)
        offset += (size + 3) & ~3
    if status == (0, 0) or (protocol == TCP and state == (0, 0)):
        raise OSError(errno.EBADMSG, "a conntrack entry without status or state")
    return (*status, entry[slice(*status)], *state, entry[slice(*state)])


def tuple_text(entry: dict[int, bytes]) -> str:
    """Return the original direction of a TCP or UDP entry: ``10.0.0.10:20009>10.0.0.100:8080``."""
    try:
        original = attributes(entry[CTA_TUPLE_ORIG])
        address, ports = attributes(original[CTA_TUPLE_IP]), attributes(original[CTA_TUPLE_PROTO])
        if CTA_IP_V4_SRC in address:
            source, target = (socket.inet_ntop(socket.AF_INET, address[k]) for k in (CTA_IP_V4_SRC, CTA_IP_V4_DST))
        else:
            source, target = (
                f"[{socket.inet_ntop(socket.AF_INET6, address[k])}]" for k in (CTA_IP_V6_SRC, CTA_IP_V6_DST)
            )
        sport, dport = (int.from_bytes(ports[k], "big") for k in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT))
    except (KeyError, ValueError) as error:
        raise OSError(errno.EBADMSG, f"a conntrack entry without addresses or ports: {error}") from None
    return f"{source}:{sport}>{target}:{dport}"
