"""The collectors of one network namespace: sampled first, collected later, and none of them can stop the others."""

from __future__ import annotations

from errno import ENOMEM
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit_agent.budget import ENDLESS, BudgetError, check, memory
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostaudit_agent.root import Root


LAST = (ENDLESS, ENDLESS)
COSTS: dict[str, tuple[float, float]] = {
    "resolver": (0.1, 0.1),
    "ring": (0.1, 0.1),
    "kmsg": (0.1, 0.1),
    "conntrack": (0.4, 0.5),
    "neighbour": (0.1, 0.7),
    "counters": (0.7, 0.9),
    "processes": (0.5, 1.4),
    "platform": (2.3, 2.2),
    "route": (0.1, 6.5),
    "device": (0.1, 61),
    "link": (0.1, 98),
    "firewall": (0.3, 262),
    "sysctl": (2.7, 461),
    "sockets": (1.1, 560),
    "bpf": (0.1, 570),
}
"""CPU milliseconds of both samples on a quiet and on a busy host, as ``bench/agent_busy.py`` measures them: what is
cheapest on the busy one is read first. What is not listed here is read last."""


class Failed(NamedTuple):
    """A first sample that could not be taken."""

    why: str


def reason(error: BaseException) -> str:
    """Return why something could not be read, as a sentence for people."""
    if isinstance(error, (UnreadableError, BudgetError)):
        return str(error)
    if isinstance(error, OSError) and error.errno == ENOMEM:
        return memory()
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        return f"{text}: {error.filename}" if error.filename else text
    return f"bug in the agent: {type(error).__name__}: {error}"


def cheapest_first(surfaces: Sequence[str]) -> list[str]:
    """Return the surfaces in the order in which they are read."""
    return sorted(surfaces, key=lambda surface: COSTS.get(surface, LAST)[1])


class Reader:
    """The surfaces of one network namespace, sampled first and collected later, the cheapest first."""

    def __init__(self, root: Root, surfaces: Sequence[str], unread: list[Unread], *, census: bool) -> None:
        self._root, self._census, self._unread = root, census, unread
        self._before: dict[str, Any] = {}
        self._collectors: dict[str, Any] = {}
        for surface in cheapest_first(surfaces):
            try:
                self._collectors[surface] = import_module("hostaudit_agent.collectors." + surface)
            except Exception as e:  # noqa: BLE001 - whatever is wrong with one surface, the others are read
                self._note(surface, reason(e))

    def _note(self, part: str, why: str) -> None:
        self._unread.append(Unread(part, why, self._root.netns))

    def _part(self, surface: str) -> Callable[[str, str], None]:
        return lambda part, why: self._note(f"{surface}.{part}" if part else surface, why)

    def sample(self) -> None:
        """Take the first sample of every surface that has one."""
        for surface, collector in self._collectors.items():
            if hasattr(collector, "sample"):
                self._before[surface], why = _attempt(collector.sample, self._root)
                if why:
                    self._before[surface] = Failed(why)

    def collect(self) -> dict[str, Any]:
        """Return the surfaces that could be read, and note the others."""
        found: dict[str, Any] = {}
        for surface, collector in self._collectors.items():
            before = self._before.get(surface)
            failed = before.why if isinstance(before, Failed) else ""
            value, why = _attempt(collector.collect, self._root, None if failed else before, self._part(surface))
            if why:
                self._note(surface, why)
                continue
            found[surface] = value
            if failed:
                self._note(surface + ".delta", failed)
        for surface, value in found.items():
            add = getattr(self._collectors[surface], "later", None)
            if add:
                _, why = _attempt(add, self._root, value, self._part(surface), census=self._census)
                if why:
                    self._note(surface + ".later", why)
        return found


def _attempt(read: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, str]:
    """Return what was read, or why it was not: whatever is wrong with one surface, the others are read.

    An exception holds all that was read so far. Where memory is short it must be gone before anything is said of it.
    """
    try:
        check()
        return read(*arguments, **named), ""
    except MemoryError:
        pass
    except Exception as e:  # noqa: BLE001 - a bug in one surface must not hide the others
        return None, reason(e)
    return None, memory()
