"""What ``hostaudit drift`` prints: the lines in the wanted format, and a sentence for who waits at a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from hostaudit import report
from hostaudit.commands.auditing import style
from hostaudit.drift import text
from hostaudit.drift.flat import name_of
from hostaudit.report.page.context import Context, Drifted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.commands.auditing import Audited
    from hostaudit.drift.model import Drift, Line

WIDEST = 100
"""Columns of text, in a terminal that has them."""


def rendered(drift: Drift, shown: Sequence[Line], done: Audited, options: Mapping[str, Any]) -> str:
    """Return the lines in the format of ``--format``; nothing for nothing."""
    form = options["format_"]
    if not shown:
        return ""
    if form == "html":
        page = io.StringIO()
        report.render("html", done.run, page, style(options), context(shown))
        return page.getvalue()
    if form == "json":
        return text.document(drift, shown)
    return text.markdown(drift, shown) if form == "markdown" else text.text(shown, min(style(options).width, WIDEST))


def context(shown: Sequence[Line]) -> Context:
    """Return the lines as the page of reports shows them: one for each value that a fact should have."""
    return Context(drift=tuple(one for line in shown for one in _drifted(line)))


def _drifted(line: Line) -> Iterator[Drifted]:
    wanted: dict[str, list[str]] = {}
    for one in line.against:
        wanted.setdefault(one.value, []).append("last run" if one.kind == "last" else one.kind.value)
    role = f"role {line.back.role}" if line.back else ""
    back = "; ".join(filter(None, (role, line.back_how, text.accept(line))))
    for was, kinds in wanted.items():
        yield Drifted(
            line.host,
            name_of(line.path),
            ", ".join(kinds),
            was,
            line.now,
            line.since.first,
            f"{line.who.by.value}: {line.who.said}" if line.who.said else "",
            line.owner,
            back,
        )
