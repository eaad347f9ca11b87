"""What a reading may cost its node: wall time, CPU time, memory, and the size of the answer.

What does not fit is left ``unread`` with a reason that begins with ``budget:``, and the cheapest surfaces are read
first (``reader.COSTS``), so that a busy host is answered in part instead of not at all. The budget is looked at where
all reading passes by: before each file (``root``), at each datagram of netlink, and in the few long loops that do
neither. Only the reading of a whole node begins one; without that nothing is bounded here.

CPU time cannot pass faster than time while there is one thread. So its clock, a system call, is asked again only when
so much time has passed that it could be used up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLING = (1 / 2, 1 / 3)
"""The shares of wall and CPU time that the first samples may take. Without them only the differences are missing, and
what is given up for costing more than a third of the CPU time may still be read once in the other two."""
WHOLE = (1.0, 1.0)
ENDLESS = float("inf")
MEBIBYTE = 1 << 20


class Budget(NamedTuple):
    """Bounds of one reading; 0 is none. A quiet host needs a tenth of a second and 16 MiB."""

    wall: float = 24.0
    """Seconds, without the pause between the samples. Whoever waits for the answer waits a little longer."""
    cpu: float = 10.0
    """Seconds of user and system time."""
    memory: float = 256.0
    """MiB of private memory."""
    answer: float = 8.0
    """MiB of the document."""


class BudgetError(Exception):
    """The reading has cost what it may; the message is the reason."""


class Keeper:
    """Keeps the times of one reading."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._began = time.monotonic()
        self._wall, self._cpu = budget.wall, budget.cpu
        self.next = 0.0
        """Monotonic time before which nothing can be used up."""

    def share(self, shares: tuple[float, float]) -> None:
        """Let only these shares of wall and CPU time be used until further notice."""
        self._wall, self._cpu = shares[0] * self.budget.wall, shares[1] * self.budget.cpu
        self.next = 0.0

    def paused(self, seconds: float) -> None:
        """Do not count a pause."""
        self._began += seconds

    def left(self) -> float:
        """Return the seconds until the first of the times may be used up; negative: it is."""
        return min(self._wall_left(), self._cpu_left())

    def look(self) -> None:
        """Raise BudgetError when a time is used up."""
        if self._wall_left() <= 0:
            raise BudgetError(f"budget: {self._wall:.3g} s are over")
        if self._cpu_left() <= 0:
            raise BudgetError(f"budget: {self._cpu:.3g} s of CPU time are used up")
        self.next = time.monotonic() + self.left()

    def _wall_left(self) -> float:
        return self._wall - (time.monotonic() - self._began) if self._wall else ENDLESS

    def _cpu_left(self) -> float:
        return self._cpu - time.process_time() if self._cpu else ENDLESS


_keepers: list[Keeper] = []
_reserve: list[bytes] = []


def begin(budget: Budget) -> Keeper:
    """Bound this process from now on; its CPU time counts from its start."""
    _keepers[:] = [Keeper(budget)]
    return _keepers[0]


def end() -> None:
    """Bound nothing any more."""
    _keepers.clear()


def check() -> None:
    """Raise BudgetError when the times of the reading are used up."""
    if _keepers and time.monotonic() >= _keepers[0].next:
        _keepers[0].look()


def fair(most: float) -> float:
    """Return the seconds that a walk may take which can stop early: ``most``, or half of what is left if that is less.

    The other half is for what comes after it. Raises BudgetError when there is nothing left.
    """
    check()
    return min(most, _keepers[0].left() / 2) if _keepers else most


def memory() -> str:
    """Return the reason where an allocation failed. From then on there is a little more, for saying so."""
    _reserve.clear()
    return f"budget: {_keepers[0].budget.memory:g} MiB of memory are used up" if _keepers else "out of memory"


def confine(mebibytes: float) -> Callable[[], None]:
    """Let this process have so much private memory, beyond which allocations fail; return what lifts that again.

    RLIMIT_DATA counts private writable mappings since Linux 4.7 (mm/mmap.c, may_expand_vm) and the heap only before.
    """
    import resource  # noqa: PLC0415 - only a whole reading needs it

    _reserve[:] = [bytes(MEBIBYTE)]
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [limit for limit in (soft, int(mebibytes * MEBIBYTE)) if limit > 0]  # RLIM_INFINITY is -1
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds, default=soft), hard))
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
