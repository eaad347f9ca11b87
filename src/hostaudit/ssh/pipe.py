"""A command on an ssh connection: its three streams and its exit code."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit.ssh.wire import Connection


class SshPipe:
    """A command on a connection as a ``delivery.Pipe``."""

    def __init__(self, connection: Connection, command: str, timeout: float) -> None:
        """Start the command. Raises OSError, EOFError or paramiko.SSHException."""
        self._channel = connection.transport.session(timeout)
        self._wake = _Wake()
        self._channel.in_buffer.set_event(self._wake)
        self._channel.in_stderr_buffer.set_event(self._wake)
        self._channel.exec_command(command)

    def send(self, data: bytes) -> None:
        """Write all of it to stdin."""
        self._channel.sendall(data)

    def receive(self, seconds: float) -> tuple[bytes, bytes, bool]:
        """Wait for something to read on either stream."""
        channel = self._channel
        until = time.monotonic() + seconds
        while True:
            self._wake.clear_before_reading()
            ended = channel.eof_received or channel.closed
            out = channel.recv(1 << 20) if channel.recv_ready() else b""
            err = channel.recv_stderr(1 << 20) if channel.recv_stderr_ready() else b""
            if out or err:
                return out, err, False
            left = until - time.monotonic()
            if ended or left <= 0:
                return b"", b"", ended
            self._wake.wait(left)

    def status(self) -> int | None:
        """Return the exit code, for which it waits a moment."""
        self._channel.status_event.wait(1)
        code = self._channel.exit_status
        return None if code < 0 else int(code)


class _Wake(threading.Event):
    """Set by either of a channel's buffers. They also clear it when one is empty, though the other may not be."""

    def clear(self) -> None:
        """Leave it set: only the reader knows when both are empty."""

    def clear_before_reading(self) -> None:
        super().clear()
