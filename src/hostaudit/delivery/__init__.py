"""Brings the agent to a host and its answer back, over any pair of streams; one round trip, nothing on its disk.

The command line finds a Python and hands it a one-line program that reads ``loader.py`` from stdin; the loader reads
the agent. No secret stands on a command line. The answer is framed: whatever banners, dot files and sudo print before
or after it is skipped.
"""

from __future__ import annotations

import re
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from hostaudit.delivery.request import Request
from hostaudit.delivery.sudo import SudoPrompt, refusal
from hostaudit.failures import HostError, excerpt

__all__ = ["Answer", "Pipe", "Request", "run"]

NOISE = 1 << 20
"""Bytes around the answer that a login shell may print."""
_VERSION = re.compile(rb"([23]\.\d+\.\d+\S*) \(")


class Pipe(Protocol):
    """A started command. What blocks is ended from outside, by closing it; every call may raise OSError or EOFError."""

    def send(self, data: bytes) -> None:
        """Write all of it to the command's stdin."""

    def receive(self, seconds: float) -> tuple[bytes, bytes, bool]:
        """Wait for something to read; return (stdout, stderr, both have ended)."""

    def status(self) -> int | None:
        """Return the exit code of a command that has ended; ``None`` where it is not told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent said."""

    body: bytes
    code: int
    stderr: bytes


def run(pipe: Pipe, request: Request, where: str, until: float) -> Answer:
    """Deliver the agent, wait for its answer until ``until`` (monotonic clock). Raises HostError."""
    exchange = _Exchange(pipe, request, where)
    try:
        exchange.prepare(until)
        exchange.send(request.program)
        return exchange.answer(until)
    except TimeoutError:
        raise exchange.too_late() from None
    except (OSError, EOFError) as problem:
        raise HostError(
            "connect", f"the connection to {where} broke while the agent ran: {problem}; try again"
        ) from None


class _Exchange:
    """One conversation with a host."""

    def __init__(self, pipe: Pipe, request: Request, where: str) -> None:
        self.pipe = pipe
        self.request = request
        self.where = where
        self.out = bytearray()
        self.err = bytearray()
        self.ended = False
        self.searched = 0

    def prepare(self, until: float) -> None:
        """Where sudo may ask for a password, answer it, and wait until the loader's turn has come."""
        if not (self.request.become and self.request.become_password):
            return
        prompt = SudoPrompt(f"{self.request.nonce} prompt".encode(), self.request.become_password, self.where)
        ready = f"\n{self.request.nonce} ready\n".encode()
        while ready not in self.out and not self.ended:
            self._receive(until)
            reply = prompt.reply(bytes(self.err))
            if reply:
                self.send(reply)

    def send(self, data: bytes) -> None:
        """Send, unless the other side has ended already: why it did is told by what it said."""
        with suppress(OSError, EOFError):
            self.pipe.send(data)

    def answer(self, until: float) -> Answer:
        """Receive until the frame is whole. Raises HostError when it never will be."""
        ready = f"\n{self.request.nonce} live\n".encode()
        live = self.request.live
        while True:
            if live and ready in self.out:
                live(self.send)
                live = None
            found = self._frame()
            if found:
                return found
            if self.ended:
                raise self._failure()
            self._receive(until)

    def too_late(self) -> HostError:
        """Say how far it came when its time was over."""
        seconds = f"{self.request.seconds:g} s"
        if f"\n{self.request.nonce} answer ".encode() in self.out:
            return HostError(
                "timeout", f"{self.where} stopped in the middle of its answer ({seconds} are over); the link hangs"
            )
        said = excerpt(bytes(self.err)) or excerpt(bytes(self.out))
        heard = f"; it said: {said!r}" if said else ""
        return HostError(
            "timeout",
            f"{self.where} took the login, but its answer did not come within {seconds}{heard}; "
            f"see whether `true` over ssh ends there, and whether it is overloaded",
        )

    def _receive(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        out, err, self.ended = self.pipe.receive(left)
        self.out += out
        self.err += err
        del self.err[: -(1 << 16)]
        if len(self.out) > self.request.max_output + NOISE:
            raise HostError(
                "output",
                f"{self.where} sent more than {self.request.max_output + NOISE} bytes without an answer: "
                f"{excerpt(bytes(self.out[:200]))!r}; look at what its login shell prints",
            )

    def _frame(self) -> Answer | None:
        """Return the answer once all of it is here."""
        mark = f"\n{self.request.nonce} answer ".encode()
        start = self.out.find(mark, self.searched)
        if start < 0:
            self.searched = max(0, len(self.out) - len(mark))
            return None
        self.searched = start
        line_end = self.out.find(b"\n", start + len(mark))
        if line_end < 0:
            return None
        try:
            code, length, packed, said = (int(n) for n in bytes(self.out[start + len(mark) : line_end]).split())
        except ValueError:
            raise HostError("output", f"{self.where} sent a damaged answer; try again") from None
        begin = line_end + 1
        if len(self.out) < begin + packed + said:
            return None
        if length > self.request.max_output:
            raise HostError(
                "output",
                f"the agent on {self.where} answered {length} bytes, more than the {self.request.max_output} that are "
                f"taken; leave out --census or --all-netns there",
            )
        stderr = bytes(self.out[begin + packed : begin + packed + said])
        return Answer(self._unpack(bytes(self.out[begin : begin + packed])), code, stderr)

    def _unpack(self, packed: bytes) -> bytes:
        """Decompress, never to more than was agreed on."""
        unpacker = zlib.decompressobj()
        try:
            body = unpacker.decompress(packed, self.request.max_output + 1)
        except zlib.error:
            raise HostError("output", f"{self.where} sent a damaged answer; try again") from None
        if len(body) > self.request.max_output:
            raise HostError("output", f"{self.where} sent more than {self.request.max_output} bytes; nothing was read")
        return body

    def _failure(self) -> HostError:
        """Say why there is no answer, from what the host said instead."""
        nonce = self.request.nonce.encode()
        out, err = bytes(self.out), bytes(self.err).replace(nonce + b" prompt", b"")
        if self.request.become:
            reason = refusal(out, err, nonce, self.where)
            if reason:
                return HostError("sudo", reason)
        missing = re.search(rb"\n" + nonce + rb" nopython(.*)\n", out)
        asked = " ".join(self.request.python) or "python3"
        advice = "install Python 3.9 or newer, or set ansible_python_interpreter"
        if missing:
            version = _VERSION.search(err)
            if missing[1].strip():
                old = f" ({excerpt(version[1], 20)})" if version else ""
                return HostError("python", f"{asked} of {self.where} is older than 3.9{old}; {advice}")
            return HostError("python", f"{self.where} has no {asked}; {advice}")
        if b"Unknown option: -I" in err:
            return HostError("python", f"{asked} of {self.where} is Python 2; {advice}")
        status = self.pipe.status()
        said = excerpt(err) or excerpt(out)
        ended = "ended" if status is None else f"ended with exit code {status}"
        if not said:
            return HostError("output", f"{self.where} {ended} without an answer and without a word; try `ssh` by hand")
        return HostError("output", f"{self.where} {ended} without an answer; it said: {said!r}")
