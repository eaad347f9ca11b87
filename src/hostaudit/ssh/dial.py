"""The byte stream to an SSH server: TCP, or a ProxyCommand."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from hostaudit.failures import HostError, excerpt

if TYPE_CHECKING:
    from hostaudit.attempt import Attempt
    from hostaudit.ssh.route import Hop

AT_ONCE = 1 << 15
"""Bytes; about as much as one packet of SSH may carry (RFC 4253, 6.1)."""
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_REASONS = {
    errno.ECONNREFUSED: "refuses connections: no sshd listens there, or a firewall rejects; check ansible_port",
    errno.EHOSTUNREACH: "is not reachable (no route to host): it is down, or its address is wrong",
    errno.ENETUNREACH: "is not reachable (no route to its network); check the routes and the VPN here",
    errno.ECONNRESET: "resets connections; a firewall or sshd's MaxStartups may do that",
    errno.ETIMEDOUT: "does not answer: it is down, or a firewall drops the packets",
}


class QuickSocket(socket.socket):
    """A TCP socket that acknowledges at once, and asks the kernel once for what is there.

    SSH is ping-pong in small packets: a delayed ACK costs up to 40 ms per round trip, and the kernel forgets
    TCP_QUICKACK after use (tcp(7)). paramiko reads every packet in two halves.
    """

    _unread = b""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Return what was received before, or receive, and acknowledge the next packets at once."""
        data = self._unread
        if not data:
            data = super().recv(max(size, AT_ONCE), flags)
            with suppress(OSError):
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._unread = data[size:]
        return data[:size]


def direct(hop: Hop, attempt: Attempt, timeout: float) -> socket.socket:
    """Return a TCP connection, to the first of the name's addresses that takes it. Raises HostError."""
    attempt.enter(
        timeout, f"the name {hop.address} was not resolved within {timeout:g} s; `getent hosts {hop.address}`"
    )
    try:
        found = socket.getaddrinfo(
            hop.address, hop.port, _FAMILIES.get(hop.family, socket.AF_UNSPEC), socket.SOCK_STREAM
        )
    except (socket.gaierror, UnicodeError) as problem:
        why = problem.strerror if isinstance(problem, socket.gaierror) else "not a host name"
        raise HostError(
            "connect", f"{hop.name}: the name {hop.address!r} cannot be resolved ({why}); set ansible_host"
        ) from None
    until = attempt.enter(
        timeout,
        f"{hop.where} does not answer on port {hop.port} within {timeout:g} s: it is down, or a firewall drops packets",
    )
    failure: OSError | None = None
    for position, (family, kind, protocol, _, address) in enumerate(found):
        share = (until - time.monotonic()) / (len(found) - position)
        sock = QuickSocket(family, kind, protocol)
        attempt.hold(sock.close)
        try:
            sock.settimeout(max(0.1, share))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as problem:
            sock.close()
            failure = problem
            continue
        return sock
    raise _refused(hop, failure, attempt)


def _refused(hop: Hop, problem: OSError | None, attempt: Attempt) -> HostError:
    if attempt.expired or isinstance(problem, TimeoutError):
        return attempt.late
    why = _REASONS.get(problem.errno or 0) if problem else "has no address"
    return HostError("connect", f"{hop.where} {why or f'cannot be connected to: {problem}'}")


def proxy(hop: Hop, attempt: Attempt) -> socket.socket:
    """Return a socket whose other end is a ProxyCommand's stdin and stdout. Raises HostError."""
    ours, theirs = socket.socketpair()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the socket
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {hop.proxy_command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            start_new_session=True,
        )
    except OSError as problem:
        ours.close()
        errors.close()
        raise HostError("connect", f"ProxyCommand of {hop.name} could not be started: {problem}") from None
    finally:
        theirs.close()
    sock = _ProxySocket(ours, process, errors)
    attempt.hold(sock.close)
    return sock


def words(sock: object) -> str:
    """Return what the ProxyCommand behind a socket said on stderr; empty where there is none."""
    return sock.said if isinstance(sock, _ProxySocket) else ""


class _ProxySocket(socket.socket):
    """A socket that takes its ProxyCommand along when it is closed."""

    def __init__(self, ours: socket.socket, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        super().__init__(fileno=ours.detach())
        self._process = process
        self._errors = errors
        self.said = ""

    def close(self) -> None:
        """Close it, and end the command."""
        super().close()
        for signum, seconds in ((signal.SIGTERM, 0.2), (signal.SIGKILL, 2.0)):
            with suppress(OSError):
                os.killpg(self._process.pid, signum)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        if not self._errors.closed:
            self._errors.seek(0)
            self.said = excerpt(self._errors.read(4096))
            self._errors.close()
