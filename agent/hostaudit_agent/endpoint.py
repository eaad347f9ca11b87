"""Addresses and ports as sock_diag gives them, in words: 16 bytes, of which IPv4 uses four; ports in network order."""

from __future__ import annotations

import socket
import sys
from typing import Tuple

AF_INET, AF_INET6 = 2, 10
MAPPED = bytes(10) + b"\xff\xff"
"""IPv4 on an IPv6 socket: ::ffff:0:0/96."""


def swapped(port: int) -> int:
    """Return a port in network order as one of the machine's, or the other way round."""
    return port if sys.byteorder == "big" else (port & 0xFF) << 8 | port >> 8


def network(family: int, address: bytes) -> Tuple[int, bytes]:
    """Return the /24 or /64 of an address; an IPv4 address that an IPv6 socket shows is one of IPv4."""
    if family == AF_INET6 and address.startswith(MAPPED):
        family, address = AF_INET, address[12:]
    return (family, address[:3] + bytes(13)) if family == AF_INET else (family, address[:8] + bytes(8))


def text(family: int, address: bytes) -> str:
    """Return an address for people, without the ``::ffff:`` of IPv4 on an IPv6 socket."""
    if family == AF_INET6 and address.startswith(MAPPED):
        family, address = AF_INET, address[12:]
    return socket.inet_ntop(family, address[:4] if family == AF_INET else address)


def end(family: int, address: bytes, port: int) -> str:
    """Return address and port: ``10.0.0.5:443``, ``[::]:22``."""
    host = text(family, address)
    return f"[{host}]:{swapped(port)}" if ":" in host else f"{host}:{swapped(port)}"


def prefix(family: int, address: bytes) -> str:
    """Return a network for people: ``10.0.0.0/24``, ``2001:db8::/64``."""
    return f"{text(family, address)}/{24 if family == AF_INET else 64}"
