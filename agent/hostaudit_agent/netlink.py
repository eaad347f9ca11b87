"""A small netlink client: requests, dumps and attributes, with nothing but ``socket`` and ``struct``.

Message layout and constants: include/uapi/linux/netlink.h. Numbers in headers and attribute headers are in the
machine's byte order; what nfnetlink puts inside attributes is big-endian, what rtnetlink puts there is native.

Merely opening a socket of a protocol, or sending a message to an nfnetlink subsystem, makes the kernel load the
module behind it (``net-pf-16-proto-12``, ``nfnetlink-subsys-10``). The agent changes nothing, so callers ask
``presence.has_module`` first.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from struct import Struct
from typing import TYPE_CHECKING

from hostaudit_agent import budget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12

NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSG_MIN_TYPE = 16  # smaller types are control messages
HEADER_SIZE = 16
ATTRIBUTE_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

# The kernel sizes the datagrams of a dump by the largest buffer offered, up to 32 KiB; single answers may be longer.
BUFFER_SIZE = 1 << 17
ATTEMPTS = 5
MAX_ANSWER = 256 << 20
DONE_SIZE = 20

header = Struct("=IHHII")  # length, type, flags, sequence, port
attribute_header = Struct("=HH")  # length with header, type
_head = Struct("=IH")
_status = Struct("=i")


class DumpInterruptedError(OSError):
    """What was dumped changed meanwhile (NLM_F_DUMP_INTR), or messages were lost (ENOBUFS): the dump is not whole."""


class Netlink:
    """One socket of one netlink protocol, in the network namespace of the calling thread.

    Every failure is an ``OSError``: the kernel's own answer (``PermissionError`` for EPERM), ``TimeoutError`` when the
    answer is not complete after ``timeout`` seconds, EBADMSG for an answer that does not parse.
    """

    def __init__(self, protocol: int, timeout: float = 10.0) -> None:
        self.timeout = timeout
        self._protocol = protocol
        self._sequence = 0
        self._buffer = bytearray(BUFFER_SIZE)
        self._socket = self._open()
        self._clean = True

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self._protocol)
        try:
            sock.bind((0, 0))
        except OSError:
            sock.close()
            raise
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, kind: int, payload: bytes = b"", flags: int = 0) -> tuple[int, bytes]:
        """Return type and payload of the one message that answers.

        NLM_F_MULTI is not looked at: the answer to CT_GET_STATS carries it although no NLMSG_DONE follows.
        """
        self._send(kind, payload, NLM_F_REQUEST | flags)
        for buffer, size in self._datagrams():
            for answer, start, end, _ in self._messages(buffer, size):
                if answer == NLMSG_ERROR:
                    _raise_status(buffer, start, end)
                self._clean = True
                return answer, bytes(buffer[start:end])
        raise _malformed("no answer")  # pragma: no cover: _datagrams ends by an exception only

    def dump(self, kind: int, payload: bytes = b"", flags: int = 0) -> list[tuple[int, bytes]]:
        """Return type and payload of every message of a dump.

        A dump that the kernel marks as interrupted is taken again, a few times; then ``DumpInterruptedError``.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return self._dump(kind, payload, flags)
            except DumpInterruptedError:
                continue
        return self._dump(kind, payload, flags)

    def _dump(self, kind: int, payload: bytes, flags: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        interrupted = False
        self._send(kind, payload, NLM_F_REQUEST | NLM_F_DUMP | flags)
        for buffer, size in self._datagrams():
            for answer, start, end, marks in self._messages(buffer, size):
                interrupted = interrupted or bool(marks & NLM_F_DUMP_INTR)
                if answer >= NLMSG_MIN_TYPE:
                    found.append((answer, bytes(buffer[start:end])))
                    continue
                if answer in (NLMSG_ERROR, NLMSG_DONE):
                    _raise_status(buffer, start, end)
                    self._clean = True
                    if interrupted:
                        raise DumpInterruptedError(errno.EINTR, "changed while it was read")
                    return found
        raise _malformed("no end")  # pragma: no cover: _datagrams ends by an exception only

    def stream(self, kind: int, payload: bytes = b"") -> Iterator[tuple[bytearray, int]]:
        """Yield the datagrams of a dump as (buffer, bytes used), for tables too long for ``dump``.

        The caller walks the messages and skips types below NLMSG_MIN_TYPE. The buffer is used again for the next
        datagram. The caller may stop early; the socket is then replaced before it is used again.
        """
        self._send(kind, payload, NLM_F_REQUEST | NLM_F_DUMP)
        for buffer, size in self._datagrams():
            first = header.unpack_from(buffer, 0) if size >= HEADER_SIZE else None
            if first is None:
                raise _malformed(f"a message of {size} bytes")
            if first[1] == NLMSG_ERROR and first[3] == self._sequence:
                _raise_status(buffer, HEADER_SIZE, size)
                return
            # Kernels differ in whether NLMSG_DONE shares a datagram with data; it is always the last message.
            tail = header.unpack_from(buffer, size - DONE_SIZE) if size >= DONE_SIZE else first
            last = tail[0] == DONE_SIZE and tail[1] == NLMSG_DONE and tail[3] == self._sequence
            if last:
                _raise_status(buffer, size - DONE_SIZE + HEADER_SIZE, size)
                self._clean = True
            yield buffer, size
            if last:
                return

    def _send(self, kind: int, payload: bytes, flags: int) -> None:
        if not self._clean:  # an answer was left half read, and the kernel refuses a second dump meanwhile (EBUSY)
            self._socket.close()
            self._socket = self._open()
        self._clean = False
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.settimeout(self.timeout)
        self._socket.send(header.pack(HEADER_SIZE + len(payload), kind, flags, self._sequence, 0) + payload)

    def _datagrams(self) -> Iterator[tuple[bytearray, int]]:
        deadline = time.monotonic() + self.timeout
        total = 0
        while True:
            budget.check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, f"no whole answer in {self.timeout:g} s")
            try:
                self._socket.settimeout(left)
                size, sender = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            except socket.timeout:  # apart from TimeoutError in Python 3.9
                raise TimeoutError(errno.ETIMEDOUT, f"no whole answer in {self.timeout:g} s") from None
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise DumpInterruptedError(errno.ENOBUFS, "messages were lost") from None
                raise
            if sender[0] != 0:  # not from the kernel
                continue
            if size > BUFFER_SIZE:
                raise _malformed(f"a datagram of {size} bytes")
            total += size
            if total > MAX_ANSWER:
                raise OSError(errno.EMSGSIZE, f"the answer is longer than {MAX_ANSWER} bytes")
            yield self._buffer, size

    def _messages(self, buffer: bytearray, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield type, start and end of the payload, and flags of each message that answers our request."""
        unpack, sequence, offset = header.unpack_from, self._sequence, 0
        while offset + HEADER_SIZE <= size:
            length, kind, flags, answered, _ = unpack(buffer, offset)
            if length < HEADER_SIZE or offset + length > size:
                raise _malformed(f"a message of {length} bytes")
            if answered == sequence:
                yield kind, offset + HEADER_SIZE, offset + length, flags
            offset += (length + 3) & ~3


def _malformed(what: str) -> OSError:
    return OSError(errno.EBADMSG, "malformed netlink answer: " + what)


def _raise_status(buffer: bytearray, start: int, end: int) -> None:
    """Raise what an NLMSG_ERROR or NLMSG_DONE reports: the negative errno at the start of its payload, or 0."""
    if end - start < _status.size:
        raise _malformed(f"a status of {end - start} bytes")
    code = -_status.unpack_from(buffer, start)[0]
    if code > 0:
        raise OSError(code, os.strerror(code))


def payloads(buffer: bytearray, size: int, wanted: int, least: int = 0) -> Iterator[tuple[int, int]]:
    """Yield start and end of the payload of each message of one type in a datagram of ``stream``.

    Payloads of fewer than ``least`` bytes, those of the type's fixed header, are passed over. A message that is cut
    short ends the walk.
    """
    offset = 0
    while offset + HEADER_SIZE <= size:
        length, kind = _head.unpack_from(buffer, offset)
        if length < HEADER_SIZE or offset + length > size:
            return
        if kind == wanted and length >= HEADER_SIZE + least:
            yield offset + HEADER_SIZE, offset + length
        offset += (length + 3) & ~3


def walk(buffer: bytes, offset: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield type, without its two flags, and value of the attributes in ``buffer[offset:end]``; padding may follow.

    OSError (EBADMSG) where they are cut short.
    """
    stop = len(buffer) if end is None else end
    unpack = attribute_header.unpack_from
    while offset + 4 <= stop:
        length, kind = unpack(buffer, offset)
        if length < 4 or offset + length > stop:
            raise OSError(errno.EBADMSG, f"malformed netlink attribute of {length} bytes")
        yield kind & ATTRIBUTE_TYPE, buffer[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(buffer: bytes, offset: int = 0, end: int | None = None) -> dict[int, bytes]:
    """Return the attributes by type; of a type that repeats, the last. As ``walk``, without a generator's cost."""
    stop = len(buffer) if end is None else end
    unpack, found = attribute_header.unpack_from, {}
    while offset + 4 <= stop:
        length, kind = unpack(buffer, offset)
        if length < 4 or offset + length > stop:
            raise OSError(errno.EBADMSG, f"malformed netlink attribute of {length} bytes")
        found[kind & ATTRIBUTE_TYPE] = buffer[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded, for a request."""
    return attribute_header.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def text(value: bytes) -> str:
    """Return a NUL-terminated string attribute; bytes that are not UTF-8 become U+FFFD."""
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")
