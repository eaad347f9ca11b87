"""``hostaudit history``: the runs that are kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hostaudit.commands.changing import format_option, journal_option, policy_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.commands.storing import reading, settings
from hostaudit.errors import UsageError
from hostaudit.report._text import count

if TYPE_CHECKING:
    from hostaudit.history import Stored


@click.command("history", context_settings=VARIABLES)
@click.option("--since", metavar="TIME", help="From this time on, as in 2026-11-21 or 2026-11-21T08:00; UTC.")
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="The newest N runs.")
@click.option(
    "--prune", is_flag=True, help="Remove what is older than --keep now; `run` and `drift` do it as they end."
)
@click.option(
    "--keep",
    type=click.FloatRange(1),
    metavar="DAYS",
    help="With --prune. [default: keep_days of [history], else 400]",
)
@journal_option
@policy_option
@format_option("json: one run a line.")
def command(**options: Any) -> int:
    """List the runs that are kept, oldest first; their ids are for `show`, `diff` and `baseline accept`."""
    from hostaudit.history import History, moment

    since = options["since"] or ""
    if since and not moment(since):
        raise UsageError(f"--since {since}: not a time; write 2026-11-21 or 2026-11-21T08:00")
    if options["prune"]:
        days = options["keep"] or settings(options["policy"]).keep_days
        with History.open(options["journal"]) as history:
            emit(f"removed {history.prune(days, datetime.now(UTC))} runs older than {days:g} days\n")
        return 0
    with reading(options["journal"]) as history:
        runs = history.read.runs(since=moment(since), newest=options["number"] or 0)
    emit("".join(_json(run) if options["format_"] == "json" else _line(run) for run in runs))
    return 0


def _json(run: Stored) -> str:
    return json.dumps(msgspec.to_builtins(run)) + "\n"


def _line(run: Stored) -> str:
    failed, active, unknown = (run.counts.get(name, 0) for name in ("fail", "active", "unknown"))
    said = f"{count(failed, 'finding')} ({active} active), {unknown} not known"
    return f"{run.started}  {run.id}  {run.kind:<5}  {run.hosts:>4} host{' ' if run.hosts == 1 else 's'}  {said}\n"
