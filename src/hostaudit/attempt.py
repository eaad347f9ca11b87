"""One host's turn: what it is doing now, until when, and how to end it.

Whatever blocks in a thread (name resolution, a socket, a proxy) is ended from outside by closing what it waits for;
``collect`` watches the deadlines of all turns in one place.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from hostaudit.failures import HostError

if TYPE_CHECKING:
    from collections.abc import Callable


class Attempt:
    """The turn of one host. One thread works, another may call ``expire``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closers: list[Callable[[], object]] = []
        self._late = HostError("timeout", "it was interrupted")
        self.deadline = float("inf")
        """Monotonic clock."""
        self.since = time.monotonic()
        """When the current step began."""
        self.expired = False

    def enter(self, seconds: float, late: str) -> float:
        """Begin a step that may take ``seconds``; ``late`` is what to say if it does not. Returns its deadline.

        Raises HostError when the turn is over already.
        """
        with self._lock:
            if self.expired:
                raise self._late
            self._late = HostError("timeout", late)
            self.since = time.monotonic()
            self.deadline = self.since + seconds
            return self.deadline

    def hold(self, close: Callable[[], object]) -> None:
        """Keep what ends the current step from outside; called at once when the turn is over already."""
        with self._lock:
            if not self.expired:
                self._closers.append(close)
                return
        close()

    def release(self) -> None:
        """Forget what was held: it belongs to others now."""
        with self._lock:
            self._closers.clear()

    def expire(self) -> HostError:
        """End the turn: close everything, on a thread of its own, as closing may block. Returns why it ended."""
        with self._lock:
            self.expired = True
            closers, self._closers = self._closers, []
        if closers:
            threading.Thread(target=_close_all, args=(closers,), daemon=True, name="hostaudit-close").start()
        return self._late

    @property
    def late(self) -> HostError:
        """Why the turn ended, once it has expired."""
        return self._late


def _close_all(closers: list[Callable[[], object]]) -> None:
    for close in reversed(closers):
        try:
            close()
        except Exception:  # noqa: BLE001, S112 - a connection that is being torn down may fail in any way
            continue
