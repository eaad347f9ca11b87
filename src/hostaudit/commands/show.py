"""``hostaudit show``: one entry of the journal, a whole change, or a run of the history."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.auditing import style
from hostaudit.commands.changing import format_option, journal_option
from hostaudit.commands.log import as_json, printed
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.reporting import heading
from hostaudit.commands.stdout import emit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.journal import Entry
    from hostaudit.model import Run


@click.command("show", context_settings=VARIABLES)
@click.argument("identity", metavar="ID")
@journal_option
@format_option("json: one entry a line.")
def command(identity: str, **options: Any) -> int:
    """Show an entry of the journal by its ID, a change with its steps by the change's, a run by the run's, or last."""
    from hostaudit.errors import UsageError
    from hostaudit.journal import Journal

    if run := _run(identity, options):
        from hostaudit import report

        text = io.StringIO()
        looks = replace(style({"verbose": 0}), heading=heading(run))
        report.render(options["format_"], run, text, looks)
        emit(text.getvalue())
        return 0
    with Journal.open(options["journal"], readonly=True) as journal:
        entries = list(journal.entries(change=identity))
        if not entries:
            try:
                entries = [journal.get(identity)]
            except UsageError:
                from hostaudit.change import past

                entries = list(journal.entries(change=past.change(journal, identity).id))
    if options["format_"] == "json":
        emit("".join(as_json(entry) for entry in entries))
    else:
        emit(printed(entries, _detail(entries)))
    return 0


def _run(identity: str, options: Mapping[str, Any]) -> Run | None:
    """Return the run of the history that this names; ``None`` where it names none."""
    from hostaudit.commands.storing import reading
    from hostaudit.errors import UsageError

    if not re.match(r"last|\d{8}T", identity):
        return None
    with reading(options["journal"]) as history:
        try:
            found = history.read.find(identity)
        except UsageError:
            return None
        return history.read.run(found) if identity.startswith("last") or found.id.startswith(identity) else None


def _detail(entries: list[Entry]) -> list[str]:
    """Return, per host, what was there before, what was asked for, and what was read back."""
    lines = []
    for entry in entries:
        for host, knobs in (entry.payload.get("knobs") or {}).items():
            lines += [f"{host}: {name}: {b} -> {t}, read back {n}" for name, (b, t, n) in knobs.items()]
        for host, changed in (entry.payload.get("changed") or {}).items():
            lines += [f"{host}: {text}" for one in changed for text in str(one).splitlines()]
        for host, things in (entry.payload.get("things") or {}).items():
            lines += [f"{host}: {thing}" for thing in things]
    return list(dict.fromkeys(lines))
