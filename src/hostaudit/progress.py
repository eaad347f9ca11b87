"""How far the reading is, on stderr: a moving line on a terminal, nothing in a pipe, one line a host with ``-v``."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Self

from hostaudit.model import Unreachable

if TYPE_CHECKING:
    from hostaudit.model import Collected

CLEAR = "\r\x1b[K"
"""Back to the line's start, and clear it (ECMA-48)."""


class Progress:
    """Counts answers; safe to call from several threads."""

    def __init__(self, *, quiet: bool, verbose: int) -> None:
        self.total = 0
        self.read = 0
        self.failed = 0
        self.lines = bool(verbose) and not quiet
        self.moving = not quiet and not verbose and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def expect(self, total: int) -> None:
        """Say how many answers there will be."""
        self.total = total
        self._show()

    def notice(self, text: str) -> None:
        """Say a sentence that is about no host in particular."""
        with self._lock:
            sys.stderr.write(f"{CLEAR if self.moving else ''}hostaudit: {text}\n")
            self._show()

    def __exit__(self, *_: object) -> None:
        if self.moving:
            sys.stderr.write(CLEAR)  # the report starts on a clean line
            sys.stderr.flush()

    def done(self, answer: Collected | Unreachable) -> None:
        """Take note of one answer."""
        with self._lock:
            if isinstance(answer, Unreachable):
                self.failed += 1
            else:
                self.read += 1
            if self.lines:
                said = answer.reason if isinstance(answer, Unreachable) else "read"
                sys.stderr.write(f"{answer.host.name}: {said} ({answer.seconds:.1f} s)\n")
            self._show()

    def _show(self) -> None:
        if self.moving and self.total:
            failed = f", {self.failed} not" if self.failed else ""
            sys.stderr.write(f"{CLEAR}reading hosts: {self.read} of {self.total}{failed}")
            sys.stderr.flush()
