"""What a sensor heard as a pcapng file with headers only, one interface for each port. Pure.

Link type LINUX_SLL2 (276): protocol, interface, packet type and the sender's link address, then the network header;
a VLAN tag that the kernel had taken off stands where it was. Block layout: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hostaudit.trace.frames import OUTGOING, raws

if TYPE_CHECKING:
    from hostaudit.trace.frames import Raw
    from hostaudit_agent.capture.answer import Heard

LINUX_SLL2, SNAP, NANOSECONDS = 276, 320, 9
SECTION, INTERFACE, PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5
_sll2 = struct.Struct("!HHIHBB8s")
INBOUND, OUTBOUND = 1, 2


def written(heard: Heard, host: str) -> bytes:
    """Return the file. Raises HostError where the capture is damaged."""
    out = _block(SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, b"hostaudit") + _option(0, b""))
    for name in heard.ports:
        options = _option(2, name.encode()) + _option(9, bytes([NANOSECONDS])) + _option(0, b"")
        out += _block(INTERFACE, struct.pack("<HHI", LINUX_SLL2, 0, SNAP) + options)
    numbers = {name: number for number, name in enumerate(heard.ports)}
    last = 0
    for raw in raws(heard, host):
        last = raw.time
        out += _packet(raw, numbers[raw.device])
    if heard.ports:
        drops = _option(5, struct.pack("<Q", heard.drops)) + _option(0, b"")
        out += _block(STATISTICS, struct.pack("<III", 0, last >> 32, last & 0xFFFFFFFF) + drops)
    return out


def _packet(raw: Raw, number: int) -> bytes:
    protocol, data, length = raw.protocol, raw.data, raw.length
    if raw.vlan is not None:
        data, protocol, length = struct.pack("!HH", raw.vlan, protocol) + data, 0x8100, length + 4
    frame = _sll2.pack(protocol, 0, number + 1, raw.hatype, raw.kind, len(raw.address), raw.address) + data
    head = struct.pack(
        "<IIIII", number, raw.time >> 32, raw.time & 0xFFFFFFFF, len(frame), max(len(frame), _sll2.size + length)
    )
    way = OUTBOUND if raw.kind == OUTGOING else INBOUND
    return _block(PACKET, head + _padded(frame) + _option(2, struct.pack("<I", way)) + _option(0, b""))


def _block(kind: int, body: bytes) -> bytes:
    body = _padded(body)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
