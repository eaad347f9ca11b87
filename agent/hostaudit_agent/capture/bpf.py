"""A classic BPF program that keeps the headers of one series of connections, for sockets of type SOCK_DGRAM.

The kernel runs it before it copies anything (SO_ATTACH_FILTER, Documentation/networking/filter.rst), so a host that
forwards 100,000 packets a second hands over only those of the probe. It starts at the network header, looks behind
VLAN tags that are still in the frame and one level into VXLAN and Geneve, and returns how many bytes reach up to the
end of the TCP header: what people said to each other is never copied.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# include/uapi/linux/bpf_common.h: class | size | mode
LDH_ABS, LDB_IND, LDH_IND, LD_IND = 0x28, 0x50, 0x48, 0x40
LDX_IMM, ADD, ADD_X, AND, LSH, RSH, TAX, TXA = 0x01, 0x04, 0x0C, 0x54, 0x64, 0x74, 0x07, 0x87
JA, JEQ, JGT, JGE, JSET, RET, RET_A = 0x05, 0x15, 0x25, 0x35, 0x45, 0x06, 0x16
AD_PROTOCOL = 0xFFFFF000
"""SKF_AD_OFF + SKF_AD_PROTOCOL: the frame's protocol, whatever link it came by."""
IPV4, IPV6, VLAN, QINQ = 0x0800, 0x86DD, 0x8100, 0x88A8
TCP, UDP = 6, 17
VXLAN_PORTS, GENEVE_PORT = (4789, 8472), 6081
BRIDGED_ETHERNET = 0x6558
MOST_ADDRESSES = 16
"""Jumps reach 255 instructions; an IPv6 address takes sixteen of them."""

instruction = struct.Struct("=HBBI")
"""struct sock_filter: code, jump if true, jump if false, value."""


class _Program:
    """Instructions with labels. A condition that names no label for false goes on with the next instruction."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, int, str, str]] = []
        self.labels: dict[str, int] = {}

    def add(self, code: int, value: int = 0, true: str = "", false: str = "") -> None:
        self.lines.append((code, value, true, false))

    def mark(self, label: str) -> None:
        self.labels[label] = len(self.lines)

    def assembled(self) -> bytes:
        out = b""
        for at, (code, value, true, false) in enumerate(self.lines, 1):
            if code == JA:
                out += instruction.pack(code, 0, 0, self.labels[true] - at)
                continue
            yes, no = ((self.labels[label] - at if label else 0) for label in (true, false))
            out += instruction.pack(code, yes, no, value)
        return out


def program(addresses: Sequence[str], ports: tuple[int, int], ssh_port: int = 0) -> bytes:
    """Return an array of struct sock_filter.

    It keeps TCP from or to one of ``addresses`` (empty: any) with one port from ``ports`` (first, last); nothing with
    ``ssh_port`` (0: none), which carries this agent's own words.
    """
    p = _Program()
    p.add(LDH_ABS, AD_PROTOCOL)
    p.add(LDX_IMM, 0)
    for offset, here in ((2, "outer"), (6, "tag2")):
        if here != "outer":
            p.mark("tag")
        p.add(JEQ, VLAN, true=f"in{offset}")
        p.add(JEQ, QINQ, true=f"in{offset}")
        p.add(JA, true="network")
        p.mark(f"in{offset}")
        p.add(LDH_ABS, offset)
        p.add(LDX_IMM, offset + 2)
    p.mark("network")
    _network(p, addresses, "outer", encapsulated=False)
    _tunnels(p)
    _network(p, addresses, "inner", encapsulated=True)
    _tcp(p, ports, ssh_port)
    return p.assembled()


def _network(p: _Program, addresses: Sequence[str], name: str, *, encapsulated: bool) -> None:
    """Find TCP in a packet; A is the EtherType, X the offset of the network header."""
    four = [socket.inet_pton(socket.AF_INET, a) for a in addresses[:MOST_ADDRESSES] if ":" not in a]
    six = [socket.inet_pton(socket.AF_INET6, a) for a in addresses[:MOST_ADDRESSES] if ":" in a]
    p.add(JEQ, IPV4, true=f"{name}4")
    p.add(JEQ, IPV6, true=f"{name}6")
    p.add(RET, 0)
    p.mark(f"{name}4")
    p.add(LDH_IND, 6)
    p.add(JSET, 0x1FFF, true=f"{name}4no")  # a later fragment has no ports
    p.add(LDB_IND, 9)
    p.add(JEQ, TCP, true=f"{name}4tcp")
    if not encapsulated:
        p.add(JEQ, UDP, true="udp4")
    p.mark(f"{name}4no")
    p.add(RET, 0)
    if not encapsulated:
        p.mark("udp4")
        _past_ipv4(p)
        p.add(JA, true="udp")
    p.mark(f"{name}4tcp")
    _addresses(p, four, (12, 16), f"{name}4", anything=not addresses)
    _past_ipv4(p)
    p.add(JA, true="tcp")
    p.mark(f"{name}6")
    p.add(LDB_IND, 6)
    p.add(JEQ, TCP, true=f"{name}6tcp")
    if not encapsulated:
        p.add(JEQ, UDP, true="udp6")
    p.add(RET, 0)
    if not encapsulated:
        p.mark("udp6")
        _forward(p, 40)
        p.add(JA, true="udp")
    p.mark(f"{name}6tcp")
    _addresses(p, six, (8, 24), f"{name}6", anything=not addresses)
    _forward(p, 40)
    p.add(JA, true="tcp")


def _addresses(p: _Program, wanted: list[bytes], places: tuple[int, int], name: str, *, anything: bool) -> None:
    """Go on where one of the two addresses at ``places`` is wanted; else drop."""
    if anything:
        return
    for place in places:
        for number, address in enumerate(wanted):
            other = f"{name}{place}not{number}"
            words = struct.unpack(f"!{len(address) // 4}I", address)
            for n, word in enumerate(words):
                p.add(LD_IND, place + 4 * n)
                p.add(JEQ, word, false=other)
            p.add(JA, true=f"{name}yes")
            p.mark(other)
    p.add(RET, 0)
    p.mark(f"{name}yes")


def _past_ipv4(p: _Program) -> None:
    """Move X behind an IPv4 header, whose options make it longer than 20 bytes."""
    p.add(LDB_IND, 0)
    p.add(AND, 0x0F)
    p.add(LSH, 2)
    p.add(ADD_X)
    p.add(TAX)


def _forward(p: _Program, many: int) -> None:
    p.add(TXA)
    p.add(ADD, many)
    p.add(TAX)


def _tunnels(p: _Program) -> None:
    """X is the offset of a UDP header; find the frame inside, or drop."""
    p.mark("udp")
    p.add(LDH_IND, 2)
    for port in VXLAN_PORTS:
        p.add(JEQ, port, true="vxlan")
    p.add(JEQ, GENEVE_PORT, true="geneve")
    p.mark("nothing")
    p.add(RET, 0)
    p.mark("geneve")
    p.add(LDH_IND, 10)
    p.add(JEQ, BRIDGED_ETHERNET, false="nothing_in_geneve")
    p.add(LDB_IND, 8)
    p.add(AND, 0x3F)
    p.add(LSH, 2)
    p.add(ADD_X)
    p.add(TAX)
    p.add(JA, true="vxlan")
    p.mark("nothing_in_geneve")
    p.add(RET, 0)
    p.mark("vxlan")
    _forward(p, 8 + 8 + 14)  # UDP, VXLAN or Geneve, Ethernet
    p.add(TXA)
    p.add(ADD, 0xFFFFFFFE)  # the EtherType stands two bytes before
    p.add(TAX)
    p.add(LDH_IND, 0)
    p.add(JEQ, IPV4, true="inner_v4")
    p.add(JEQ, IPV6, true="inner_v6")
    p.add(RET, 0)
    for version, kind in (("v4", IPV4), ("v6", IPV6)):
        p.mark(f"inner_{version}")
        _forward(p, 2)
        p.add(0x00, kind)  # BPF_LD | BPF_IMM
        p.add(JA, true="inner")
    p.mark("inner")


def _tcp(p: _Program, ports: tuple[int, int], ssh_port: int) -> None:
    """X is the offset of a TCP header; keep all up to its end, or drop."""
    p.mark("tcp")
    if ssh_port:
        for place in (0, 2):
            p.add(LDH_IND, place)
            p.add(JEQ, ssh_port, true="drop")
    p.add(LDH_IND, 0)
    p.add(JGE, ports[0], false="target")
    p.add(JGT, ports[1], false="keep")
    p.mark("target")
    p.add(LDH_IND, 2)
    p.add(JGE, ports[0], false="drop")
    p.add(JGT, ports[1], true="drop")
    p.mark("keep")
    p.add(LDB_IND, 12)
    p.add(AND, 0xF0)
    p.add(RSH, 2)
    p.add(ADD_X)
    p.add(RET_A)
    p.mark("drop")
    p.add(RET, 0)
