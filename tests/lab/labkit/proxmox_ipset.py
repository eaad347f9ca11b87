"""Sets of addresses in the kernel without the ipset program: netlink, for the rules that name a set.

Source: include/uapi/linux/netfilter/ipset/ip_set.h. Only what pve-firewall's management set needs: hash:net.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct

CREATE, DESTROY, ADD = 2, 3, 9
PROTOCOL, SETNAME, TYPENAME, REVISION, FAMILY, DATA = 1, 2, 3, 4, 5, 7
IP, CIDR = 1, 3
NESTED, BIG_ENDIAN = 0x8000, 0x4000
SUBSYSTEM, NETLINK_NETFILTER = 6, 12
EXISTS = 4103
"""IPSET_ERR_EXIST, what an element that is there already answers; a set answers EEXIST."""


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def request(command: int, *attributes: bytes) -> int:
    """Send one request and return the kernel's answer: 0 or an error number."""
    body = struct.pack("BBH", 0, 0, 0) + attribute(PROTOCOL, b"\6") + b"".join(attributes)
    flags = 0x1 | 0x4 | (0x600 if command == CREATE else 0)  # REQUEST, ACK, CREATE and EXCL
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as s:
        s.send(struct.pack("IHHII", 16 + len(body), SUBSYSTEM << 8 | command, flags, 1, 0) + body)
        return -struct.unpack_from("i", s.recv(4096), 16)[0]


def make(name: str, networks: list[str], family: int) -> None:
    """Make a hash:net set with these networks unless it is there; OSError with the set's name."""
    label = attribute(SETNAME, f"{name}\0".encode())
    number = socket.AF_INET if family == 4 else socket.AF_INET6
    kind = attribute(TYPENAME, b"hash:net\0") + attribute(REVISION, b"\6") + attribute(FAMILY, bytes([number]))
    error = request(CREATE, label, kind, attribute(DATA | NESTED, b""))
    if error not in (0, 17, EXISTS):
        raise OSError(error, f"set {name}: {os.strerror(error)}")
    for network in map(ipaddress.ip_network, networks):
        address = attribute((1 if family == 4 else 2) | BIG_ENDIAN, network.network_address.packed)
        data = attribute(IP | NESTED, address) + attribute(CIDR, bytes([network.prefixlen]))
        error = request(ADD, label, attribute(DATA | NESTED, data))
        if error not in (0, 17, EXISTS):
            raise OSError(error, f"set {name}, {network}: error {error}")


def destroy(name: str) -> None:
    """Remove a set; nothing happens where it is missing or in use."""
    request(DESTROY, attribute(SETNAME, f"{name}\0".encode()))
