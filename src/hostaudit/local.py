"""This machine as a host: the same command, the same agent and the same bounds, without ssh."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from contextlib import suppress
from typing import IO

from hostaudit.failures import HostError

CHUNK = 1 << 16


class LocalPipe:
    """A command of this machine as a ``delivery.Pipe``."""

    def __init__(self, command: str) -> None:
        """Start it in a session of its own, so that all of it can be ended. Raises HostError."""
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            raise HostError("python", f"/bin/sh of this machine could not be started: {problem}") from None
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                self._selector.register(stream, selectors.EVENT_READ)

    def send(self, data: bytes) -> None:
        """Write all of it to stdin. Raises OSError when the command has closed it."""
        stdin = self._process.stdin
        view = memoryview(data)
        while stdin and view:
            view = view[stdin.write(view) or 0 :]

    def receive(self, seconds: float) -> tuple[bytes, bytes, bool]:
        """Wait for something to read on either stream."""
        out = err = b""
        for key, _ in self._selector.select(seconds):
            stream = key.fileobj
            data = os.read(key.fd, CHUNK)
            if not data:
                self._selector.unregister(stream)
            elif stream is self._process.stdout:
                out += data
            else:
                err += data
        return out, err, not self._selector.get_map()

    def status(self) -> int | None:
        """Return the exit code, for which it waits a moment."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(1)
        return None

    def kill(self) -> None:
        """End the command and what it started; what sudo started for root ends by the loader's alarm."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and leave neither a zombie nor an open file."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._selector.close()
        streams: tuple[IO[bytes] | None, ...] = (self._process.stdin, self._process.stdout, self._process.stderr)
        for stream in streams:
            if stream:
                with suppress(OSError):
                    stream.close()
