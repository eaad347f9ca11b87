"""How many hosts may be under way at once: as many as ``forks``, and more while those are only waited for. No threads.

A host that hangs, a slow link and the pause between the agent's two samples cost this process nothing; if they kept a
place that a live host could use, fifty dead hosts of a thousand would double the time of a run.
"""

from __future__ import annotations

PATIENCE = 0.3
"""Seconds in one step after which a host is thought to be waited for."""
MOST = 8
"""Hosts under way for each of ``forks``, at most."""
BUSY = 0.8
"""Share of a processor from which on hosts wait for this process: more of them would not make it faster."""


class Turns:
    """The count of workers. Its user holds a lock around every call."""

    def __init__(self, forks: int, hosts: int) -> None:
        self._forks = min(max(1, forks), hosts)
        self._allowed = self._forks
        self._workers = 0
        self._left = hosts
        self._looked = (float("-inf"), 0.0)

    def look(self, waiting: int, now: float, spent: float) -> None:
        """Adapt to how many of the hosts under way are only waited for.

        ``now`` and ``spent`` are the monotonic clock and this process's CPU time, in seconds. With one fork hosts come
        strictly one after the other.
        """
        before, spent_before = self._looked
        if now - before < PATIENCE:
            return
        self._looked = (now, spent)
        busy = spent - spent_before > BUSY * (now - before)
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
