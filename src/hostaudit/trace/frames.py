"""What a sensor sent becomes frames: TCP headers with where and which way they passed. Untrusted bytes come in."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from hostaudit.failures import HostError
from hostaudit_agent.capture.answer import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit_agent.capture.answer import Heard

FIN, SYN, RST, ACK = 1, 2, 4, 16
OUTGOING = 4
"""PACKET_OUTGOING of include/uapi/linux/if_packet.h."""
IPV4, IPV6, TCP, UDP = 0x0800, 0x86DD, 6, 17
VLANS = (0x8100, 0x88A8)
FIRST = {IPV4: 4, IPV6: 6}
"""The version that a packet of this protocol begins with."""
TUNNELS = {4789: "VXLAN", 8472: "VXLAN", 6081: "Geneve"}
_tcp = struct.Struct("!HHIIBB")


@dataclass(frozen=True, slots=True)
class Raw:
    """One record of a sensor, headers as they are."""

    time: int
    """Nanoseconds since 1970, by that host's clock."""
    device: str
    kind: int
    """Packet type: 0 to this host, 3 to another one, 4 outgoing."""
    hatype: int
    address: bytes
    """The sender's link address."""
    protocol: int
    vlan: int | None
    length: int
    """Bytes on the wire, from the network header."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One TCP segment as it passed one port of one host."""

    host: str
    order: int
    """Position among the frames of this host."""
    device: str
    out: bool
    source: str
    sport: int
    target: str
    dport: int
    seq: int
    ack: int
    flags: int
    ttl: int
    mac: str
    """Of the sender on this link; of an outgoing frame it is the host's own."""
    vlan: int | None = None
    tunnel: str = ""
    """``VXLAN`` or ``Geneve`` where the segment was inside."""


def raws(heard: Heard, host: str) -> Iterator[Raw]:
    """Yield the records of a sensor. Raises HostError of kind ``output`` where they are damaged."""
    try:
        data = base64.b64decode(heard.records, validate=True)
    except binascii.Error:
        raise HostError("output", f"{host}: the capture is damaged (no base64)") from None
    at = 0
    while at < len(data):
        try:
            when, number, kind, size, hatype, protocol, tag, length, kept, address = record.unpack_from(data, at)
            device = heard.ports[number]
        except (struct.error, IndexError):
            raise HostError("output", f"{host}: the capture is damaged at byte {at}") from None
        at += record.size
        frame = data[at : at + kept]
        if len(frame) < kept:
            raise HostError("output", f"{host}: the capture ends in the middle of a frame")
        at += kept
        yield Raw(
            when, device, kind, hatype, address[: min(size, 8)], protocol, tag - 1 if tag else None, length, frame
        )


def frames(heard: Heard, host: str) -> list[Frame]:
    """Return the TCP segments that a sensor heard; what is no whole TCP header is left out."""
    found: list[Frame] = []
    for order, raw in enumerate(raws(heard, host)):
        try:
            frame = _frame(raw, host, order)
        except (struct.error, IndexError):
            continue
        if frame is not None:
            found.append(frame)
    return found


def _frame(raw: Raw, host: str, order: int) -> Frame | None:
    data, protocol, at, vlan = raw.data, raw.protocol, 0, raw.vlan
    # Linux 6.10 and later tell the innermost protocol for a cooked socket, though the tag still stands in the data
    while protocol in VLANS or (protocol in FIRST and data[at] >> 4 != FIRST[protocol]):
        tag, inside = struct.unpack_from("!HH", data, at)
        if protocol not in VLANS and inside != protocol and inside not in VLANS:
            return None
        vlan, at, protocol = tag & 0xFFF, at + 4, inside
    tunnel = ""
    while True:
        carried, source, target, ttl, at = _network(data, protocol, at)
        if carried != UDP or tunnel:
            break
        (port,) = struct.unpack_from("!H", data, at + 2)
        if port not in TUNNELS:
            return None
        tunnel = TUNNELS[port]
        options = (data[at + 8] & 0x3F) * 4 if tunnel == "Geneve" else 0
        at += 8 + 8 + options + 14
        (protocol,) = struct.unpack_from("!H", data, at - 2)
    if carried != TCP:
        return None
    sport, dport, seq, ack, _, flags = _tcp.unpack_from(data, at)
    return Frame(
        host,
        order,
        raw.device,
        raw.kind == OUTGOING,
        _address(source),
        sport,
        _address(target),
        dport,
        seq,
        ack,
        flags,
        ttl,
        raw.address.hex(":"),
        vlan,
        tunnel,
    )


def _network(data: bytes, protocol: int, at: int) -> tuple[int, bytes, bytes, int, int]:
    """Return the protocol inside, both addresses, the TTL and where the next header begins; 0 for what is no IP.

    Raises IndexError where the header is cut short.
    """
    if protocol in {IPV4, IPV6} and len(data) < at + (20 if protocol == IPV4 else 40):
        raise IndexError
    if protocol == IPV4:
        return data[at + 9], data[at + 12 : at + 16], data[at + 16 : at + 20], data[at + 8], at + (data[at] & 15) * 4
    if protocol == IPV6:
        return data[at + 6], data[at + 8 : at + 24], data[at + 24 : at + 40], data[at + 7], at + 40
    return 0, b"", b"", 0, at


@cache
def _address(raw: bytes) -> str:
    return str(IPv6Address(raw) if len(raw) == 16 else IPv4Address(raw))
