"""The collectors of one network namespace: sampled first, collected later, and none of them can stop the others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostaudit_agent.root import Root


def reason(error: BaseException) -> str:
    """Return why something could not be read, as a sentence for people."""
    if isinstance(error, UnreadableError):
        return str(error)
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        return f"{text}: {error.filename}" if error.filename else text
    return f"bug in the agent: {type(error).__name__}: {error}"


class Reader:
    """The surfaces of one network namespace, sampled first and collected later."""

    def __init__(self, root: Root, surfaces: Sequence[str], unread: list[Unread], *, census: bool) -> None:
        self._root, self._census, self._unread = root, census, unread
        self._before: dict[str, Any] = {}
        self._collectors: dict[str, Any] = {}
        for surface in surfaces:
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
                try:
                    self._before[surface] = collector.sample(self._root)
                except Exception as e:  # noqa: BLE001 - the same failure in collect speaks for the whole surface
                    self._before[surface] = e

    def collect(self) -> dict[str, Any]:
        """Return the surfaces that could be read, and note the others."""
        found: dict[str, Any] = {}
        for surface, collector in self._collectors.items():
            before = self._before.get(surface)
            failed = before if isinstance(before, Exception) else None
            more = {"census": True} if self._census and surface == "conntrack" else {}
            try:
                found[surface] = collector.collect(self._root, None if failed else before, self._part(surface), **more)
            except Exception as e:  # noqa: BLE001 - a bug in one surface must not hide the others
                self._note(surface, reason(e))
            else:
                if failed:
                    self._note(surface + ".delta", reason(failed))
        return found
