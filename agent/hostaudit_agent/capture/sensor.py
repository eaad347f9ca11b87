"""Hears the headers of one series of connections on every port of this network namespace, through AF_PACKET.

Order matters: the filter is attached while the socket belongs to no protocol, and only then is it bound, so nothing
else ever waits in its queue (packet(7); packet_do_bind in net/packet/af_packet.c binds to all interfaces with index 0).
Outgoing frames are heard when the kernel hands them to the device, before a queueing discipline may drop them; incoming
ones before any packet filter. A frame that came in and never went out was therefore lost in between, in this host.
"""

from __future__ import annotations

import base64
import errno
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from hostaudit_agent.capture import bpf
from hostaudit_agent.capture.answer import Heard, record
from hostaudit_agent.records import dataclass

if TYPE_CHECKING:
    from hostaudit_agent.capture.live import Live

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
"""include/uapi/linux/if_packet.h and asm-generic/socket.h; Python's socket module lacks them."""
TP_STATUS_VLAN_VALID = 1 << 4
QUEUE = 16 << 20
"""Bytes of kernel memory for frames that wait, each about 1 KiB there."""
LONGEST = 256
"""Bytes of a frame's headers, from the network header; the filter cuts at the end of the TCP header."""
DRAIN = 0.05
"""Seconds of silence after which the rest of the queue counts as read, once it is over."""

_auxdata = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, length, captured, mac, net, VLAN tag, VLAN protocol."""
_timespec = struct.Struct("=qq")


@dataclass
class Request:
    """What to listen to, and for how long at most."""

    addresses: list[str]
    """Packets from or to one of these; empty: any."""
    ports: list[int]
    """First and last port of the client's side."""
    port: int = 0
    """Of the service. Where sshd has another one, its connections are never kept, whatever their client's port."""
    seconds: float = 30.0
    packets: int = 20_000
    bytes: int = 8 << 20
    queue: int = QUEUE


def own_ssh_port() -> int:
    """Return the port of the sshd that carries this agent; 22 where it is not known (sudo forgets it)."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return int(words[3]) if len(words) == 4 and words[3].isdigit() else 22


class Sensor:
    """An open socket. PermissionError without CAP_NET_RAW."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            self._prepare()
        except BaseException:
            self._sock.close()
            raise

    def _prepare(self) -> None:
        import ctypes  # noqa: PLC0415 - a snapshot does without it

        wanted = self.request
        first, last = wanted.ports
        ssh = own_ssh_port()
        code = bpf.program(wanted.addresses, (first, last), 0 if ssh == wanted.port else ssh)
        kept = ctypes.create_string_buffer(code, len(code))
        fprog = struct.pack("HL", len(code) // bpf.instruction.size, ctypes.addressof(kept))  # struct sock_fprog
        self._sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted.queue)
        except PermissionError:  # CAP_NET_RAW without CAP_NET_ADMIN: net.core.rmem_max decides
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted.queue)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._sock.setblocking(False)
        # socket.bind would look up an interface by name and know of none for "all of them"
        address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0)
        if ctypes.CDLL(None, use_errno=True).bind(self._sock.fileno(), address, len(address)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def listen(self, live: Live) -> Heard:
        """Collect frames until it is over; close the socket."""
        heard, data = Heard(), bytearray()
        numbers: dict[str, int] = {}
        began, cpu = time.monotonic(), time.process_time()
        until = began + self.request.seconds
        waited: list[Any] = [self._sock] if live.stop is None else [self._sock, live.stop]
        while not heard.ended:
            readable = select.select(waited, [], [], max(0.0, until - time.monotonic()))[0]
            if self._sock in readable:
                self._read(heard, data, numbers)
            if live.stop in readable:
                heard.ended = heard.ended or "asked"
            elif time.monotonic() >= until:
                heard.ended = heard.ended or "time"
        if heard.ended in {"asked", "time"}:
            bound = heard.ended
            while heard.ended == bound and select.select([self._sock], [], [], DRAIN)[0]:
                self._read(heard, data, numbers)
                if time.monotonic() > until + 2:
                    break
        packets, drops = struct.unpack("=II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        del packets
        self._sock.close()
        heard.drops, heard.ports = drops, list(numbers)
        heard.records = base64.b64encode(data).decode()
        heard.seconds = round(time.monotonic() - began, 3)
        heard.cpu_ms = round((time.process_time() - cpu) * 1000, 1)
        return heard

    def _read(self, heard: Heard, data: bytearray, numbers: dict[str, int]) -> None:
        """Read what waits; set ``heard.ended`` when a bound is reached."""
        receive, limit = self._sock.recvmsg, self.request
        while True:
            try:
                frame, messages, _, (name, protocol, kind, hatype, address) = receive(LONGEST, 128)
            except BlockingIOError:
                return
            except OSError as problem:
                if problem.errno == errno.ENETDOWN:  # an interface went away; the others are heard all the same
                    return
                raise
            when, tag, length = _told(messages, len(frame))
            number = numbers.setdefault(name, len(numbers))
            data += record.pack(
                *(when, number, kind, min(len(address), 8), hatype, protocol, tag, length, len(frame), address[:8])
            )
            data += frame
            heard.packets += 1
            if heard.packets >= limit.packets:
                heard.ended = "packets"
                return
            if len(data) >= limit.bytes:
                heard.ended = "bytes"
                return


def _told(messages: list[tuple[int, int, bytes]], length: int) -> tuple[int, int, int]:
    """Return time in nanoseconds, VLAN id + 1, and the length on the wire, from the control messages."""
    when = tag = 0
    for level, kind, value in messages:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(value) >= _auxdata.size:
            status, length, _, _, _, tci, _ = _auxdata.unpack_from(value)
            tag = (tci & 0x0FFF) + 1 if status & TP_STATUS_VLAN_VALID else 0
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) >= _timespec.size:
            seconds, nanoseconds = _timespec.unpack_from(value)
            when = seconds * 1_000_000_000 + nanoseconds
    return when, tag, length
