"""``hostaudit show``: one entry of the journal, or a whole change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.log import as_json, line
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit

if TYPE_CHECKING:
    from hostaudit.journal import Entry


@click.command("show", context_settings=VARIABLES)
@click.argument("identity", metavar="ID")
@journal_option
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one entry a line.",
)
def command(identity: str, **options: Any) -> int:
    """Show an entry of the journal by its ID, or a change with all its steps by the change's."""
    from hostaudit.errors import UsageError
    from hostaudit.journal import Journal

    with Journal.open(options["journal"], readonly=True) as journal:
        entries = list(journal.entries(change=identity))
        if not entries:
            try:
                entries = [journal.get(identity)]
            except UsageError:
                from hostaudit.change import past

                entries = list(journal.entries(change=past.change(journal, identity).id))
    write = as_json if options["format_"] == "json" else line
    emit("".join(write(entry) for entry in entries))
    if options["format_"] == "table":
        emit(_detail(entries))
    return 0


def _detail(entries: list[Entry]) -> str:
    """Return, per host, what was there before, what was asked for, and what was read back."""
    from hostaudit import border

    lines = []
    for entry in entries:
        for host, knobs in (entry.payload.get("knobs") or {}).items():
            lines += [f"{host}: {name}: {b} -> {t}, read back {n}" for name, (b, t, n) in knobs.items()]
        for host, changed in (entry.payload.get("changed") or {}).items():
            lines += [f"{host}: {text}" for one in changed for text in str(one).splitlines()]
        for host, things in (entry.payload.get("things") or {}).items():
            lines += [f"{host}: {thing}" for thing in things]
    return "".join(f"    {border.text(text)}\n" for text in dict.fromkeys(lines))
