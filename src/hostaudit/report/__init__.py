"""One module per format, with the format's name: ``render(run, out, style, context)`` writes a run to a text stream.

``context`` is what is known beside the run (``page.context``); a format shows what it can of it.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from hostaudit.model import Status
from hostaudit.report.page.context import NOTHING

if TYPE_CHECKING:
    from hostaudit.model import Finding, Run
    from hostaudit.report.page.context import Context


@dataclass(frozen=True, slots=True)
class Style:
    """How a report for people looks; formats for machines use ``show`` alone."""

    show: frozenset[Status] = frozenset({Status.FAIL, Status.UNKNOWN})
    """Statuses that are listed; all are counted."""
    width: int = 80
    colour: bool = False
    verbose: int = 0
    heading: str = ""
    """Which run it is, where it is not the one that was just made; formats that have their own leave it out."""


def formats() -> list[str]:
    """Return the names of the formats, in order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_") and not m.ispkg)


def render(name: str, run: Run, out: TextIO, style: Style, context: Context = NOTHING) -> None:
    """Write the run to ``out`` in the format ``name``, one of ``formats()``."""
    importlib.import_module(f"{__name__}.{name}").render(run, out, style, context)


def listed(run: Run, style: Style) -> list[Finding]:
    """Return the findings that this style lists, in the run's order."""
    return [f for f in run.findings if f.status in style.show]
