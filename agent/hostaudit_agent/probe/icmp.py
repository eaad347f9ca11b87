"""Who sent the ICMP error that ended a connection or refused a datagram: the error queue of a socket (ip(7))."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

IP_RECVERR, IPV6_RECVERR = 11, 25
"""include/uapi/linux/in.h, in6.h; Python's socket module lacks them."""
ORIGIN_LOCAL, ORIGIN_ICMP, ORIGIN_ICMP6 = 1, 2, 3
"""include/uapi/linux/errqueue.h"""
_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data; the offender's sockaddr follows."""


class QueuedError(NamedTuple):
    """One entry of the error queue."""

    errno: int
    origin: int
    """``ORIGIN_LOCAL``: this machine itself."""
    type: int
    code: int
    info: int
    """The MTU, where the error is EMSGSIZE."""
    offender: str
    """Address of the sender; empty where the kernel does not say."""


def want_origin(sock: socket.socket) -> None:
    """Have the kernel queue errors with their origin."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def errors(sock: socket.socket) -> list[QueuedError]:
    """Return and remove the queued errors of a socket that does not block."""
    found: list[QueuedError] = []
    while len(found) < 64:
        try:
            _, messages, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except OSError:
            break
        for level, kind, data in messages:
            wanted = (socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)
            if (level, kind) in wanted and len(data) >= _ERROR.size:
                number, source, what, code, _, info, _ = _ERROR.unpack_from(data)
                found.append(QueuedError(number, source, what, code, info, _address(data[_ERROR.size :])))
    return found


def origin(sock: socket.socket) -> str:
    """Return who sent the last ICMP error of a socket; empty where nobody is known."""
    return next((e.offender for e in reversed(errors(sock)) if e.origin in (ORIGIN_ICMP, ORIGIN_ICMP6)), "")


def _address(data: bytes) -> str:
    """Return the address of a struct sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", data)[0] if len(data) >= 2 else 0
    if family == socket.AF_INET and len(data) >= 8:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return socket.inet_ntop(socket.AF_INET6, data[8:24])
    return ""
