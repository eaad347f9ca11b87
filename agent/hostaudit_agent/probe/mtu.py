"""The largest packet that gets to an address unfragmented, and what becomes of larger ones.

Datagrams with DF set and the cached path MTU ignored (IP_PMTUDISC_PROBE). A size is answered; or the error queue says
that it was too large, for this host's own route (local) or for a router on the way (ICMP), which then works as path MTU
discovery should; or there is silence. **Silence for a size while smaller ones are answered is a black hole.**

The far end is an agent's echo where there is one: it answers each datagram with a short one, so that only the way there
is measured. Otherwise ICMP echo, whose reply is as large as the request: then the way back counts as well.
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hostaudit_agent.probe import icmp
from hostaudit_agent.records import dataclass

IP_MTU_DISCOVER, IP_MTU, PMTUDISC_PROBE = 10, 14, 3
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
"""include/uapi/linux/in.h, in6.h. PROBE sets DF and ignores what path MTU discovery found before."""
HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Bytes of the IP header and of the one of UDP or of ICMP echo."""
SMALL = {socket.AF_INET: 576, socket.AF_INET6: 1280}
TRIES = 2
MOST = 65535
MARK = b"hostaudit"


@dataclass
class Path:
    """What was found on the way to one address. Sizes are of whole IP packets, in bytes."""

    address: str
    verdict: str = "untried"
    """``ok``, ``pmtud``, ``local``, ``black-hole``, ``no-answer``, ``untried``; see ``hostaudit.probed.Mtu``."""
    mtu: int | None = None
    lost: int | None = None
    local_mtu: int | None = None
    said_by: str = ""
    said_mtu: int | None = None
    echo: str = ""
    error: str = ""


def perform(task: dict[str, Any]) -> list[Path]:
    """Answer others (``echo``) and try ``paths`` at the same time; end when both are over."""
    stop = threading.Event()
    echo = task.get("echo")
    thread = threading.Thread(target=answer, args=(echo, stop), daemon=True) if echo else None
    if thread:
        thread.start()
    paths = task.get("paths", [])
    with ThreadPoolExecutor(max(1, min(8, len(paths)))) as pool:
        found = list(pool.map(lambda path: measure(task, path), paths))
    if thread:
        thread.join()
    return found


def answer(echo: dict[str, Any], stop: threading.Event) -> None:
    """Answer datagrams that begin with the token, until ``peers`` have said that they are done or the time is over."""
    token = echo["token"].encode()
    end, peers = time.monotonic() + echo["seconds"], int(echo["peers"])
    socks = []
    for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - for named peers, by token
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((everywhere, echo["port"]))
        except OSError:
            continue
        socks.append(sock)
    done: set[bytes] = set()
    while len(done) < peers and time.monotonic() < end and not stop.is_set() and socks:
        for sock in select.select(socks, [], [], 0.2)[0]:
            data, sender = sock.recvfrom(MOST)
            if not data.startswith(token):
                continue
            rest = data[len(token) :]
            if rest.startswith(b"bye"):
                done.add(rest[3:11])
            try:
                sock.sendto(data[: len(token) + 19], sender)
            except OSError:
                continue
    for sock in socks:
        sock.close()


class _Way:
    """Sends packets of a size to an address, and waits for the answer."""

    def __init__(self, address: str, how: str, task: dict[str, Any]) -> None:
        self.how, self.token = how, str(task.get("token", "")).encode()
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.number, self.sequence = random.getrandbits(64), 0
        six = self.family == socket.AF_INET6
        protocol = (socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP) if how == "icmp" else 0
        self.raw = False
        try:
            self.sock = socket.socket(self.family, socket.SOCK_DGRAM, protocol)
        except PermissionError:  # net.ipv4.ping_group_range does not hold our group
            self.sock = socket.socket(self.family, socket.SOCK_RAW, protocol)
            self.raw = True
        level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        self.sock.setsockopt(level, IPV6_MTU_DISCOVER if six else IP_MTU_DISCOVER, PMTUDISC_PROBE)
        icmp.want_origin(self.sock)
        self.sock.setblocking(False)
        where = socket.getaddrinfo(
            address, int(task.get("port", 0)) if how == "udp" else 0, self.family, flags=socket.AI_NUMERICHOST
        )[0][4]
        self.sock.connect(where)
        self.local = self.sock.getsockopt(level, IPV6_MTU if six else IP_MTU)
        self.overhead = HEADERS[self.family]

    def packet(self, size: int, word: bytes = b"try") -> tuple[bytes, bytes]:
        """Return the payload of a packet of ``size`` bytes, and what marks the answer to it."""
        self.sequence += 1
        mark = struct.pack("!QQ", self.number, self.sequence)
        body = (self.token or MARK) + word + mark
        body = body.ljust(max(len(body), size - self.overhead), b"\0")
        if self.how == "icmp":
            kind = 128 if self.family == socket.AF_INET6 else 8
            head = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, self.sequence & 0xFFFF)
            body = head[:2] + struct.pack("!H", _checksum(head + body)) + head[4:] + body
        return body, mark

    def send(self, size: int, seconds: float) -> tuple[str, icmp.QueuedError | None]:
        """Send one; return ``answered``, ``local``, ``icmp`` (with the error) or ``silence``."""
        icmp.errors(self.sock)
        body, mark = self.packet(size)
        try:
            self.sock.send(body)
        except OSError as problem:
            queued = icmp.errors(self.sock)
            if problem.errno == errno.EMSGSIZE:
                return "local", queued[-1] if queued else None
            if problem.errno == errno.ENOBUFS:
                # dropped by the first link or its queue (udp_send_skb says so with IP_RECVERR): lost, like any other
                time.sleep(0.02)
                return "silence", None
            if problem.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            poller = select.poll()
            poller.register(self.sock, select.POLLIN | select.POLLERR)
            if not poller.poll(left * 1000):
                break
            for error in icmp.errors(self.sock):
                if error.errno == errno.EMSGSIZE:
                    return ("local" if error.origin == icmp.ORIGIN_LOCAL else "icmp"), error
            try:
                heard = self.sock.recv(MOST)
            except OSError:  # what was queued: refused, while the echo does not listen yet
                time.sleep(0.05)
                continue
            answer = not (self.raw and self.family == socket.AF_INET and heard[20:21] == b"\x08")
            if mark in heard and answer:
                return "answered", None
        return "silence", None


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def measure(task: dict[str, Any], path: dict[str, Any]) -> Path:
    """Measure one path: by the echo of an agent where the task says so, and by ICMP where that does not answer."""
    found = Path(path["address"])
    for how in ("udp", "icmp") if path.get("udp") else ("icmp",):
        try:
            way = _Way(path["address"], how, task)
        except OSError as problem:
            found.error = f"{how}: {problem.strerror or problem}"
            continue
        with way.sock:
            found.echo, found.error = how, ""
            try:
                _search(way, found, {**task, **path})
            except OSError as problem:
                found.verdict, found.error = "untried", problem.strerror or str(problem)
            if how == "udp":
                try:
                    for _ in range(TRIES):
                        way.sock.send(way.packet(0, b"bye")[0])
                except OSError:
                    pass  # the echo ends by its time
        if found.verdict != "no-answer":
            break
    return found


def _search(way: _Way, found: Path, task: dict[str, Any]) -> None:
    """Find the largest size that is answered."""
    seconds, wanted = float(task.get("timeout", 0.5)), int(task.get("wanted", 1500))
    found.local_mtu = way.local
    low = min(SMALL[way.family], way.local)
    end = time.monotonic() + (float(task.get("wait", 20)) if way.how == "udp" else 3 * seconds)
    while way.send(low, seconds)[0] != "answered":
        if time.monotonic() > end:
            found.verdict = "no-answer"
            return
    high, top, silent = max(wanted, way.local) + 1, max(wanted, way.local), False
    local = False
    size = top
    while low < high - 1:
        said, error = "silence", None
        for _ in range(TRIES):
            said, error = way.send(size, seconds)
            if said != "silence":
                break
        if said == "answered":
            low = size
        else:
            high = size
        if said == "local":
            local = True
            found.local_mtu = error.info if error and error.info else found.local_mtu
        elif said == "icmp" and error:
            found.said_by, found.said_mtu = error.offender, error.info
        elif said == "silence":
            silent, found.lost = True, size
        hint = error.info if error and low < error.info < high else 0
        size = hint or (low + high) // 2
    found.mtu = low
    if silent and found.lost == low + 1:
        found.verdict = "black-hole"
    elif found.said_by:
        found.verdict = "pmtud"
    else:
        found.verdict = "local" if local and low < wanted else "ok"
    if found.verdict != "black-hole":
        found.lost = None
