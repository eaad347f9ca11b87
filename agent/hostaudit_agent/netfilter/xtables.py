"""Rules of legacy iptables and ip6tables, read from the kernel as iptables-legacy-save reads them.

IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES (include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h)
return a table as one blob: entries back to back, each with the conditions on the IP header, counters, matches and a
target. A user's chain begins with an entry whose target is ERROR and holds the chain's name, and ends with a RETURN; a
built-in chain begins at hook_entry[hook] and ends with its policy at underflow[hook].

Asking for a table that is not there makes the kernel create it, so callers name only those in
/proc/net/ip_tables_names. Python's own getsockopt takes no input and at most 1024 bytes; hence ctypes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import NamedTuple

from hostaudit_agent.budget import check
from hostaudit_agent.netfilter.xtmatch import VERDICTS, string

SO_GET_INFO, SO_GET_ENTRIES = 64, 65
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
INFO_SIZE = 84  # struct ipt_getinfo: name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size
ENTRIES_AT = 40  # of entrytable in struct ipt_get_entries, on a 64-bit kernel
MATCH_HEADER = 32  # struct xt_entry_match: size (u16), name[29], revision (u8)
MAX_TABLE = 512 << 20
ALTERING = (b"MASQUERADE\0", b"SNAT\0", b"DNAT\0", b"REDIRECT\0", b"NETMAP\0", b"TCPMSS\0")
_ALTERING_FIRST = frozenset(name[0] for name in ALTERING)
ATTEMPTS = 5


class Family(NamedTuple):
    """Where things stand in an entry of one address family."""

    name: str
    domain: int
    level: int
    offsets: int
    """Of target_offset (u16) and next_offset (u16)."""
    counters: int
    """Of packets (u64) and bytes (u64)."""
    size: int
    """Of the entry without matches."""


IPV4 = Family("ip", socket.AF_INET, socket.SOL_IP, 88, 96, 112)
IPV6 = Family("ip6", socket.AF_INET6, 41, 140, 152, 168)
FAMILIES = {family.name: family for family in (IPV4, IPV6)}


class Blob(NamedTuple):
    """One table as the kernel hands it out."""

    family: Family
    table: str
    hook_entries: dict[int, str]
    """Offset of the first entry of a built-in chain -> its hook."""
    underflows: dict[str, int]
    data: bytes


class Chain:
    """A chain of a table: its rules are the entries from ``first`` on, without the last."""

    def __init__(self, name: str, first: int, hook: str = "") -> None:
        self.name = name
        self.first = first
        self.hook = hook
        self.entries = 0

    @property
    def rules(self) -> int:
        """The number of rules: the last entry is the policy, or the implied RETURN."""
        return max(self.entries - 1, 0)


class Table(NamedTuple):
    """The outline of a table: chains in order, jumps, and entries that deserve a closer look."""

    blob: Blob
    chains: list[Chain]
    jumps: list[tuple[Chain, int]]
    """Chain, and offset of the entry where it goes on."""
    candidates: list[tuple[Chain, int, int]]
    """Chain, position in it from 1, offset."""
    altering: list[tuple[Chain, int, int]]
    """The same of rules with NAT or TCPMSS targets."""


def read(family: Family, table: str) -> Blob:
    """Return a table that exists, from the network namespace of the calling thread.

    OSError: EPERM without CAP_NET_ADMIN, EAGAIN when it was replaced too often meanwhile.
    """
    if struct.calcsize("P") != 8:
        raise OSError(errno.ENOTSUP, "rules of 32-bit systems are not decoded")
    for attempt in range(ATTEMPTS):
        try:
            return _read(family, table)
        except BlockingIOError:  # EAGAIN: the size changed between the two calls
            if attempt == ATTEMPTS - 1:
                raise
    raise OSError(errno.EAGAIN, "not reached")  # pragma: no cover: the loop returns or raises


def _read(family: Family, table: str) -> Blob:
    name = table.encode().ljust(32, b"\0")
    # Any socket of the family will do, and a datagram socket needs no CAP_NET_RAW.
    with socket.socket(family.domain, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        info = _getsockopt(sock, family, SO_GET_INFO, name, INFO_SIZE)
        numbers = struct.unpack_from("=13I", info, 32)
        valid, hook_entry, underflow, size = numbers[0], numbers[1:6], numbers[6:11], numbers[12]
        if size > MAX_TABLE:
            raise OSError(errno.EMSGSIZE, f"table {table} has {size} bytes")
        data = _getsockopt(sock, family, SO_GET_ENTRIES, name + struct.pack("=I", size), ENTRIES_AT + size)
    present = [number for number in range(len(HOOKS)) if valid >> number & 1]
    return Blob(
        family,
        table,
        {hook_entry[number]: HOOKS[number] for number in present},
        {HOOKS[number]: underflow[number] for number in present},
        data[ENTRIES_AT:],
    )


def _getsockopt(sock: socket.socket, family: Family, option: int, head: bytes, size: int) -> bytes:
    import ctypes  # noqa: PLC0415 - 3 ms that hosts without legacy rules need not pay

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(head, size)
    length = ctypes.c_uint32(size)
    if libc.getsockopt(sock.fileno(), family.level, option, buffer, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: length.value]


def outline(blob: Blob) -> Table:
    """Walk all entries once, looking only at what most rules need; OSError (EBADMSG) where the blob does not parse."""
    data, size, family = blob.data, len(blob.data), blob.family
    offsets, plain = family.offsets, family.size
    pair, verdict_of = struct.Struct("=HH").unpack_from, struct.Struct("=i").unpack_from
    chains: list[Chain] = []
    jumps: list[tuple[Chain, int]] = []
    candidates: list[tuple[Chain, int, int]] = []
    altering: list[tuple[Chain, int, int]] = []
    chain = Chain("", 0)
    offset = 0
    while offset < size:
        if offset + plain > size:
            raise _malformed(blob, offset)
        target_at, length = pair(data, offset + offsets)
        target = offset + target_at
        if target_at < plain or length < target_at + MATCH_HEADER or offset + length > size:
            raise _malformed(blob, offset)
        if offset in blob.hook_entries:
            hook = blob.hook_entries[offset]
            chain = Chain(hook.upper(), offset, hook)
            chains.append(chain)
        first = data[target + 2]
        if first == 69 and data[target + 2 : target + 8] == b"ERROR\0":
            chain = Chain(string(data[target + MATCH_HEADER : offset + length]), offset + length)
            chains.append(chain)
        else:
            chain.entries += 1
            if not chain.entries & 1023:
                check()
            if first == 0:  # the standard target: a verdict, or the offset of another chain
                if length < target_at + MATCH_HEADER + 4:
                    raise _malformed(blob, offset)
                (verdict,) = verdict_of(data, target + MATCH_HEADER)
                if verdict >= 0 and verdict != offset + length:
                    jumps.append((chain, verdict))
            if (
                target_at > plain
                and (
                    data.find(b"conntrack\0", offset + plain, target) >= 0
                    or data.find(b"state\0", offset + plain, target) >= 0
                )
            ) or (first in (67, 78) and data[target + 2 : target + 10].startswith((b"CT\0", b"NOTRACK\0"))):
                candidates.append((chain, chain.entries, offset))
            if first in _ALTERING_FIRST and data[target + 2 : target + 13].startswith(ALTERING):
                altering.append((chain, chain.entries, offset))
        offset += length
    if chains and not chains[-1].hook and not chains[-1].entries:
        chains.pop()  # the table's end is an ERROR entry too
    return Table(blob, chains, jumps, candidates, altering)


class Entry(NamedTuple):
    """One rule, taken apart."""

    ip: bytes
    """struct ipt_ip or ip6t_ip6."""
    packets: int
    octets: int
    matches: list[tuple[str, int, bytes]]
    """Name, revision, content."""
    target: str
    """``DROP``, ``jump``, ``continue`` or the name of a target extension."""
    info: bytes
    goes_to: int
    """Offset of the chain that a jump leads to."""
    length: int


def entry(blob: Blob, offset: int) -> Entry:
    """Return the rule at an offset that ``outline`` gave."""
    data, family = blob.data, blob.family
    target_at, length = struct.unpack_from("=HH", data, offset + family.offsets)
    packets, octets = struct.unpack_from("=QQ", data, offset + family.counters)
    at, target = offset + family.size, offset + target_at
    matches = []
    while at < target:
        (size,) = struct.unpack_from("=H", data, at)
        if size < MATCH_HEADER or at + size > target:
            raise _malformed(blob, offset)
        matches.append((string(data[at + 2 : at + 31]), data[at + 31], data[at + MATCH_HEADER : at + size]))
        at += size
    (size,) = struct.unpack_from("=H", data, target)
    if size < MATCH_HEADER or target + size > offset + length:
        raise _malformed(blob, offset)
    name, info = string(data[target + 2 : target + 31]), data[target + MATCH_HEADER : target + size]
    goes_to = -1
    if not name:
        if len(info) < 4:
            raise _malformed(blob, offset)
        (verdict,) = struct.unpack_from("=i", info)
        if verdict < 0:
            name = VERDICTS.get(verdict, str(verdict))
        elif verdict == offset + length:
            name = "continue"
        else:
            name, goes_to = "jump", verdict
    ip = data[offset : offset + family.offsets - 4]
    return Entry(ip, packets, octets, matches, name, info, goes_to, length)


def _malformed(blob: Blob, offset: int) -> OSError:
    return OSError(errno.EBADMSG, f"table {blob.table}: malformed entry at offset {offset}")
