"""``hostaudit unlock``: takes a fleet from a change that is surely over."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit


@click.command("unlock", context_settings=VARIABLES)
@click.argument("fleet")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the journal.")
@journal_option
def command(fleet: str, reason: str, journal: str | None) -> int:
    """Break the lock of FLEET. A change that still runs stops at its next step, and puts its batch back."""
    from hostaudit.journal import Journal, whoami

    with Journal.open(journal) as opened:
        entry = opened.break_lock(fleet, whoami(), datetime.now(UTC), reason)
    holder = entry.payload.get("holder") or {}
    who = holder.get("user", "somebody")
    emit(f"the lock of fleet {fleet} is broken; {who} held it for change {entry.change or '?'}\n")
    return 0
