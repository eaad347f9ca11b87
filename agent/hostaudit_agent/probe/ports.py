"""The source ports of a probe's connections: one after the other for each target, out of a known range."""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import TYPE_CHECKING, Any

from hostaudit_agent.probe.icmp import want_origin

if TYPE_CHECKING:
    from hostaudit_agent.probe.handshake import Request, Target

MOST_TAKEN = 50
"""Ports that are left out in a row, because they are in use, before it is given up."""


class SourcePorts:
    """Gives each target its next source port that is free.

    Each target counts for itself: taking turns, two targets would get the odd and the even ports.
    """

    def __init__(self, request: Request) -> None:
        self.source, (self.low, self.high) = request.source, request.ports
        many, size = len(request.targets), self.high - self.low + 1
        start = random.randint(self.low, self.high)  # noqa: S311 - not a secret
        self.next = [self.low + (start - self.low + n * request.count) % size for n in range(many)]
        if request.first:
            self.next = [request.first] * many

    def bound(self, number: int, target: Target) -> tuple[socket.socket, Any]:
        """Return a socket on the next port for target ``number``, and the target in the kernel's form.

        Raises OSError where no port is free, or the source address is none of this machine's.
        """
        family, _, _, _, where = socket.getaddrinfo(
            target.address, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
        problem = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        for _ in range(min(self.high - self.low + 1, MOST_TAKEN)):
            port = self.next[number]
            self.next[number] = self.low if port >= self.high else port + 1
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                want_origin(sock)
                sock.bind((self.source, port))
            except OSError as failed:
                sock.close()
                if failed.errno != errno.EADDRINUSE:
                    raise
                problem = failed
            else:
                return sock, where
        raise problem
