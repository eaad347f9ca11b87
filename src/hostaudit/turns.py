"""How many hosts may be under way at once: as many as ``forks``, and more while those are only waited for. No threads.

A host that hangs, a slow link and the pause between the agent's two samples cost this process nothing; if they kept a
place that a live host could use, fifty dead hosts of a thousand would double the time of a run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE = 0.3
"""Seconds in one step after which a host is thought to be waited for."""
FULL_PATIENCE = 3.0
"""The same where this machine has no processor to spare: there everything takes longer, and more of it longer still."""
MOST = 8
"""Hosts under way for each of ``forks``, at most."""
BUSY = 0.8
"""Share of a processor from which on hosts wait for this process: more of them would not make it faster."""
SPARE = 0.1
"""Share of this machine's processors; with less idle than that, it has none to spare."""


def idle() -> float:
    """Return how long this machine's processors were idle since boot: seconds, their mean. See proc_stat(5)."""
    try:
        fields = Path("/proc/stat").read_text("ascii").split(maxsplit=6)
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return time.monotonic()  # no such file on this system: as if all were idle


class Turns:
    """The count of workers. Its user holds a lock around every call."""

    def __init__(self, forks: int, hosts: int) -> None:
        self._forks = min(max(1, forks), hosts)
        self._allowed = self._forks
        self._workers = 0
        self._left = hosts
        self._looked = (float("-inf"), 0.0, float("-inf"))

    def due(self, now: float) -> bool:
        """Whether it is time for ``look``, on the monotonic clock."""
        return now - self._looked[0] >= PATIENCE

    def look(self, since: Iterable[float], now: float, spent: float, spare: float) -> None:
        """Adapt to how many of the hosts under way are only waited for.

        ``since`` is when the current step of each began. ``now`` and ``spent`` are the monotonic clock and this
        process's CPU time, ``spare`` is what ``idle`` returns, in seconds. With one fork hosts come strictly one after
        the other.
        """
        before, spent_before, spare_before = self._looked
        self._looked = (now, spent, spare)
        busy = spent - spent_before > BUSY * (now - before)
        full = spare - spare_before < SPARE * (now - before)
        patience = FULL_PATIENCE if full else PATIENCE
        waiting = sum(now - began > patience for began in since)
        self._allowed = self._forks if busy or self._forks == 1 else min(self._forks + waiting, self._forks * MOST)

    def hire(self) -> int:
        """Return how many workers are to be started now; they count from now on."""
        missing = max(0, min(self._allowed - self._workers, self._left))
        self._workers += missing
        return missing

    def take(self) -> bool:
        """Tell a worker whether it may take a host; if not, it is to end, and counts no more."""
        if self._left and self._workers <= self._allowed:
            self._left -= 1
            return True
        self._workers -= 1
        return False
