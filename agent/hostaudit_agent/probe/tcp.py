"""Handshakes with addresses, many at a time and without blocking: which of them work, and how the others fail.

Interface
    ``run(Request(...), done=None, stop=None)`` returns one ``Connection`` for each that was tried, in the order in
    which they began. ``done`` gets each as it ends; ``stop``, asked about every 50 ms, ends the loop early: what has
    not been decided then is left out.

Every connection has a source port of its own from a known range, so that a capture and a connection tracking table
show which connection is meant, and no old entry of a table answers for a new one. Ports of one target follow each
other: what depends on the port's parity, or on a hash of it, shows as a mixed result.

Two stages. The handshake; then data where ``send`` or ``expect`` say so, and otherwise the end of the connection: our
FIN is acknowledged by the server's kernel, whatever the application does. Both find the half fix *connects, then
hangs*, where the SYN-ACK gets through and the client's ACK does not.
"""

from __future__ import annotations

import errno
import heapq
import os
import selectors
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hostaudit_agent.probe.handshake import OUTCOMES, PORTS, Connection, Request, Target
from hostaudit_agent.probe.icmp import origin
from hostaudit_agent.probe.ports import SourcePorts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OUTCOMES", "PORTS", "Connection", "Request", "Target", "perform", "run"]
TICK = 0.05
TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSING = 5, 6, 7, 11
"""include/net/tcp_states.h; in each of them, and in no earlier one, our FIN was acknowledged."""
TOTAL_RETRANS = 100
"""Offset of tcpi_total_retrans in struct tcp_info (include/uapi/linux/tcp.h)."""
LONGEST_REPLY = 65536


class _Open:
    """A connection on its way."""

    def __init__(self, said: Connection, sock: socket.socket) -> None:
        self.said, self.sock = said, sock
        self.began = self.connected = 0.0
        self.deadline = 0.0
        self.received = b""
        self.left = b""


class _Loop:
    """One call of ``run``."""

    def __init__(self, request: Request, done: Callable[[Connection], object] | None) -> None:
        self.request, self.done = request, done
        self.selector = selectors.DefaultSelector()
        self.open: dict[int, _Open] = {}
        self.all: list[Connection] = []
        self.expect = request.expect.encode("latin-1")
        self.data = bool(request.send or request.expect)
        self.ports = SourcePorts(request)

    def begin(self, number: int) -> None:
        """Start one connection to a target."""
        target = self.request.targets[number]
        said = Connection(number, target.address, target.port, began=round(time.time(), 3))
        self.all.append(said)
        try:
            sock, where = self.ports.bound(number, target)
        except OSError as problem:
            self._say(said, "local", problem)
            return
        opened = _Open(said, sock)
        said.source, said.source_port = sock.getsockname()[:2]
        opened.began = time.monotonic()
        opened.deadline = opened.began + self.request.timeout
        try:
            code = sock.connect_ex(where)
            said.source = sock.getsockname()[0]
        except OSError as problem:
            code = problem.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            outcome = "refused" if code == errno.ECONNREFUSED else "local"
            self._end(opened, outcome, OSError(code, os.strerror(code)))
            return
        self.open[sock.fileno()] = opened
        self.selector.register(sock, selectors.EVENT_WRITE)

    def ready(self, seconds: float) -> None:
        """Wait for something to happen, and see to it."""
        for key, _ in self.selector.select(seconds):
            opened = self.open.get(key.fd)
            if opened is None:
                continue
            try:
                if not opened.connected:
                    self._connected(opened)
                elif self.data:
                    self._data(opened)
                else:
                    self._finished(opened)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as problem:
                self._failed(opened, problem)

    def _connected(self, opened: _Open) -> None:
        code = opened.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        opened.connected = time.monotonic()
        opened.deadline = opened.connected + self.request.timeout
        opened.said.connect_ms = _ms(opened.connected - opened.began)
        if self.data:
            opened.left = self.request.send.encode("latin-1")
            self.selector.modify(opened.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if opened.left else 0))
        else:
            opened.sock.shutdown(socket.SHUT_WR)
            self.selector.modify(opened.sock, selectors.EVENT_READ)

    def _data(self, opened: _Open) -> None:
        if opened.left:
            opened.left = opened.left[opened.sock.send(opened.left) :]
            if not opened.left:
                self.selector.modify(opened.sock, selectors.EVENT_READ)
                return
        got = opened.sock.recv(LONGEST_REPLY)
        opened.received += got
        if opened.received and self.expect in opened.received:
            self._end(opened, "ok")
        elif not got:
            self._end(opened, "unexpected" if opened.received else "closed")
        elif len(opened.received) > LONGEST_REPLY:
            self._end(opened, "unexpected")

    def _finished(self, opened: _Open) -> None:
        """Throw away what the server says; its FIN leaves the connection readable without end."""
        if not opened.sock.recv(LONGEST_REPLY):
            self.selector.unregister(opened.sock)

    def _failed(self, opened: _Open, problem: OSError) -> None:
        if problem.errno == errno.ECONNRESET and not opened.connected:
            # a RST for the SYN is ECONNREFUSED (tcp_reset in net/ipv4/tcp_input.c): this one came after the SYN-ACK
            opened.connected = time.monotonic()
            opened.said.connect_ms = _ms(opened.connected - opened.began)
        if opened.connected:
            # a server that resets a connection without a request has heard us, and we have heard it
            self._end(opened, "reset" if self.data else "ok", problem)
        elif problem.errno == errno.ECONNREFUSED:
            self._end(opened, "refused", problem)
        elif problem.errno == errno.ETIMEDOUT:
            self._end(opened, "no-answer", problem)
        else:
            self._end(opened, "unreachable", problem)

    def late(self) -> None:
        """End what is over its time; see whose FIN was acknowledged."""
        now = time.monotonic()
        for opened in list(self.open.values()):
            if opened.connected and not self.data:
                state = opened.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
                if state in (TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSING):
                    self._end(opened, "ok")
                    continue
            if now >= opened.deadline:
                heard = opened.connected and opened.received
                self._end(opened, "unexpected" if heard else "silent" if opened.connected else "no-answer")

    def _end(self, opened: _Open, outcome: str, problem: OSError | None = None) -> None:
        said, sock = opened.said, opened.sock
        self.open.pop(sock.fileno(), None)
        with suppress(KeyError, ValueError):
            self.selector.unregister(sock)
        if opened.connected:
            said.data_ms = _ms(time.monotonic() - opened.connected) if outcome == "ok" else None
        with suppress(OSError, struct.error):  # a kernel that is too old to count
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS + 4)
            said.retransmits = struct.unpack_from("=I", info, TOTAL_RETRANS)[0]
        if outcome == "unreachable":
            said.origin = origin(sock)
        if outcome != "ok":
            # otherwise both kernels would go on for a minute with a connection that nobody wants
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        self._say(said, outcome, problem)

    def _say(self, said: Connection, outcome: str, problem: OSError | None = None) -> None:
        said.outcome = outcome
        said.errno = errno.errorcode.get(problem.errno or 0, "") if problem else ""
        if self.done:
            self.done(said)

    def close(self) -> None:
        """Leave no socket open."""
        for opened in self.open.values():
            opened.sock.close()
        self.selector.close()


def run(
    request: Request,
    done: Callable[[Connection], object] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Connection]:
    """Try every target; return what became of each connection. Raises nothing for what the network does."""
    loop = _Loop(request, done)
    began = time.monotonic()
    # targets are out of step with each other, so that their packets do not come in bursts
    plan = [
        (began + n * request.interval + number * request.interval / max(1, len(request.targets)), number)
        for number in range(len(request.targets))
        for n in range(request.count)
    ]
    heapq.heapify(plan)
    try:
        while (plan or loop.open) and not (stop and stop()):
            while plan and plan[0][0] <= time.monotonic() and len(loop.open) < request.parallel:
                loop.begin(heapq.heappop(plan)[1])
            soonest = min([o.deadline for o in loop.open.values()] + [when for when, _ in plan[:1]], default=0.0)
            tick = TICK / 5 if any(o.connected for o in loop.open.values()) else TICK
            loop.ready(max(0.0, min(tick, soonest - time.monotonic())))
            loop.late()
    finally:
        loop.close()
    return [one for one in loop.all if one.outcome]


def perform(task: dict[str, Any]) -> list[Connection]:
    """Do what a JSON document says: the fields of ``Request``."""
    return run(Request(**{**task, "targets": [Target(**target) for target in task["targets"]]}))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
