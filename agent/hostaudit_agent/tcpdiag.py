"""TCP sockets of one network namespace: inet_diag, or /proc/net/tcp{,6} where the kernel lacks it.

One dump with the request of TCPDIAG_GETSOCK answers for IPv4 and IPv6 together: of the requests of
include/uapi/linux/inet_diag.h it is the one without a family, so the hash is walked once
(net/ipv4/inet_diag.c, inet_diag_rcv_msg_compat). A mask of states is applied in the kernel; with LISTEN alone only the
small table of listeners is walked. A request for a handler that is not there makes the kernel load tcp_diag
(inet_diag_lock_handler), so that is asked first: Debian has it as a module that nothing loads before somebody runs
ss(8).

/proc/net/tcp says neither how long a queue may be, nor what a listener dropped, nor how long a connection is idle.
"""

from __future__ import annotations

from functools import cache, lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Tuple

from hostaudit_agent.endpoint import AF_INET, AF_INET6, swapped
from hostaudit_agent.netlink import DONE_SIZE, HEADER_SIZE, NLMSG_MIN_TYPE, Netlink, attribute_header
from hostaudit_agent.presence import has_module
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK = 4, 18
# include/net/tcp_states.h, by number; a request that waits for the client's ACK is shown as SYN_RECV
NAMES = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)
ESTABLISHED, SYN_RECV, TIME_WAIT, CLOSE_WAIT, LISTEN = 1, 3, 6, 8, 10
ALL = (1 << len(NAMES)) - 1
KEEPALIVE = 2
"""idiag_timer of a connection whose keepalive timer runs (SO_KEEPALIVE) and nothing more urgent."""
PROCFS = ("/proc/net/tcp", "/proc/net/tcp6")
_INFO, _SKMEMINFO = 2, 7  # INET_DIAG_*: struct tcp_info, and an array of u32
_DROPS_AT = 4 * 8  # SK_MEMINFO_DROPS
_IDLE_AT = 44  # tcp_info: ms since data was sent, (an ACK was sent: never kept,) data came, an ACK came
_request = Struct("=BBBB48xII")  # family, lengths of source and destination, extensions; id; states, dbs
# nlmsghdr; inet_diag_msg: family, state, timer; ports, addresses (network order); both queues; inode
_FIELDS = "BBBxHH16s16s16xII4xI"
_row = Struct("=16x" + _FIELDS)
_start = Struct("=IH")
_drops = Struct("=I")
_idle = Struct("=I4xII")
_words = Struct("=IIII")

Row = Tuple[int, int, int, int, int, bytes, bytes, int, int, int]
"""Family, state, timer, local and remote port (in network order), local and remote address (16 bytes, of which IPv4
uses four), receive queue, send queue, inode. Of a listener the queues are: those that wait, and how many may."""
UNTOLD = -1
"""The limit of a queue in /proc/net/tcp, which does not have it."""


def source(root: Root) -> str:
    """Return ``inet_diag`` or ``procfs``: where the sockets are read."""
    return "inet_diag" if root.live and _has_diag(root.top) else "procfs"


@cache
def _has_diag(top: str) -> bool:
    """Tell whether the kernel has tcp_diag; asked once, not for each network namespace. Unknown counts as no."""
    return has_module(Root(top or "/"), "tcp_diag", "tcp_diag_dump") is True


def batches(root: Root, states: int) -> Iterator[list[Row]]:
    """Yield the sockets in these states, those of a datagram or a file at a time. Raises OSError, ValueError."""
    if source(root) == "procfs":
        for name, family in zip(PROCFS, (AF_INET, AF_INET6)):
            yield [row for row in parse(root.read_text(name) or "", family) if states >> row[1] & 1]
        return
    with Netlink(NETLINK_SOCK_DIAG) as nl:
        for buffer, size in nl.stream(TCPDIAG_GETSOCK, _request.pack(0, 0, 0, 0, states, 0)):
            yield _alike(buffer, size) or [_row.unpack_from(buffer, at) for at in _places(buffer, size)]


def listeners(root: Root) -> Iterator[tuple[Row, int | None]]:
    """Yield the listening sockets, each with the number of connections it ever refused; ``None``: not told."""
    if source(root) == "procfs":
        for batch in batches(root, 1 << LISTEN):
            for row in batch:
                yield row, None
        return
    places: dict[tuple[int, int], int] = {}
    for buffer, offset, row in _dump(1 << LISTEN, _SKMEMINFO):
        at = _place(buffer, offset, row[0], _SKMEMINFO, places)
        yield row, _drops.unpack_from(buffer, at + _DROPS_AT)[0] if at else None


def idle(root: Root, states: int, most: int) -> dict[int, float]:
    """Return inode -> seconds since anything came from the peer, or data was sent to it; empty where it is not told."""
    found: dict[int, float] = {}
    places: dict[tuple[int, int], int] = {}
    if source(root) == "procfs":
        return found
    for buffer, offset, row in _dump(states, _INFO):
        if len(found) >= most:
            break
        at = _place(buffer, offset, row[0], _INFO, places)
        if at and row[-1]:
            found[row[-1]] = min(_idle.unpack_from(buffer, at + _IDLE_AT)) / 1000
    return found


def _dump(states: int, extension: int) -> Iterator[tuple[bytearray, int, Row]]:
    """Yield buffer, place of the message in it, and row of every socket, with one extension to it."""
    with Netlink(NETLINK_SOCK_DIAG) as nl:
        for buffer, size in nl.stream(TCPDIAG_GETSOCK, _request.pack(0, 0, 0, 1 << extension - 1, states, 0)):
            for offset in _places(buffer, size):
                yield buffer, offset, _row.unpack_from(buffer, offset)


def _places(buffer: bytearray, size: int) -> list[int]:
    """Return where the messages of a datagram begin."""
    start, offset, last = _start.unpack_from, 0, size - _row.size
    found = []
    while offset <= last:
        length, kind = start(buffer, offset)
        if kind >= NLMSG_MIN_TYPE:
            found.append(offset)
        offset += length + 3 & ~3 if length > HEADER_SIZE else HEADER_SIZE
    return found


def _alike(buffer: bytearray, size: int) -> list[Row]:
    """Return the rows of a datagram whose messages have one length and type, as they mostly have: several times faster.

    Empty where they have not; an NLMSG_DONE may follow.
    """
    length, kind = _start.unpack_from(buffer)
    number = size // length if length >= _row.size and kind >= NLMSG_MIN_TYPE else 0
    rest = size - number * length
    if not number or rest not in (0, DONE_SIZE):
        return []
    for at in (0, 1, 4, 5):
        if buffer[at : number * length : length] != buffer[at : at + 1] * number:
            return []
    return list(_layout(length).iter_unpack(memoryview(buffer)[: number * length]))


@lru_cache(maxsize=64)
def _layout(length: int) -> Struct:
    return Struct(f"=16x{_FIELDS}{length - _row.size}x")


def _place(buffer: bytearray, message: int, family: int, kind: int, places: dict[tuple[int, int], int]) -> int:
    """Return where in the buffer the attribute's value begins; 0 where the message has none.

    Messages of one family and length are alike, so the place is learned from one and its header compared in the next.
    """
    unpack = attribute_header.unpack_from
    length = int(_drops.unpack_from(buffer, message)[0])
    known = places.get((family, length), 0)
    if known and unpack(buffer, message + known)[1] == kind:
        return message + known + attribute_header.size
    at, end = _row.size, length
    while at + attribute_header.size <= end:
        size, found = unpack(buffer, message + at)
        if found == kind:
            places[family, length] = at
            return message + at + attribute_header.size
        at += max(size + 3 & ~3, attribute_header.size)
    return 0


def parse(text: str, family: int) -> Iterator[Row]:
    """Parse /proc/net/tcp or tcp6. Raises ValueError, IndexError where it is not that.

    In the header two pairs of columns that a colon joins in the lines stand apart; addresses are hexadecimal words in
    the machine's byte order, ports in ours.
    """
    header, _, body = text.partition("\n")
    names = header.replace("tx_queue rx_queue", "queues").replace("tr tm->when", "timer").split()
    if not names:
        return
    here, state, queues, timer, inode = (names.index(n) for n in ("local_address", "st", "queues", "timer", "inode"))
    for line in body.splitlines():
        words = line.split()
        (src, sport), (dst, dport) = _end(words[here]), _end(words[here + 1])
        number, (sent, received) = int(words[state], 16), words[queues].split(":")
        limit = UNTOLD if number == LISTEN else int(sent, 16)
        what = int(words[timer][:2], 16)
        yield family, number, what, sport, dport, src, dst, int(received, 16), limit, int(words[inode])


def _end(text: str) -> tuple[bytes, int]:
    address, _, port = text.partition(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    return _words.pack(*words, *[0] * (4 - len(words))), swapped(int(port, 16))
