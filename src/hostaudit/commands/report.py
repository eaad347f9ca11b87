"""``hostaudit report``: a run of the history, or one that was kept as JSON, in any other format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.reporting import deliver, report_options, wanted
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from hostaudit.model import Run
    from hostaudit.report.page.context import Context


@click.command("report", context_settings=VARIABLES)
@click.argument("run", metavar="[RUN|FILE]", default="last")
@report_options
@click.option(
    "--html", metavar="FILE", type=click.Path(dir_okay=False), help="As --reporter html:FILE; stdout gets nothing."
)
@click.option(
    "--context",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Rates, changes, drift, probes and traces to show beside the run; docs/reports.md.",
)
@journal_option
@click.option("-v", "--verbose", count=True, help="More detail in reports for people.")
def command(run: str, **options: Any) -> int:
    """Show a run again; reads no host.

    RUN is one of `hostaudit history`, by default the last; rates and changes that are known stand beside it. FILE is
    what `hostaudit run --format json` printed.

    Exit code: 0 the reports are written, whatever was found; 2 bad options, or a file that cannot be read or written.
    """
    html = options["html"]
    if html:
        options["reporter"] = (*options["reporter"], f"html:{html}")
    targets = wanted(options, default=None if html else "table")
    shown, context = _from_file(Path(run)) if Path(run).is_file() else _from_history(run, options["journal"])
    if options["context"]:
        from hostaudit.report._document import load_context

        context = load_context(Path(options["context"]))
    deliver(shown, targets, options, context, again=True)
    return 0


def _from_file(file: Path) -> tuple[Run, Context | None]:
    from hostaudit.report._document import load

    return load(file), None


def _from_history(name: str, url: str | None) -> tuple[Run, Context | None]:
    from hostaudit.commands.beside import of_history
    from hostaudit.commands.storing import reading
    from hostaudit.journal import Journal

    if "/" in name or name.endswith(".json"):
        raise UsageError(f"{name}: there is no such file; give one that `hostaudit run --format json` printed")
    with reading(url) as history, Journal.open(url, readonly=True) as journal:
        stored = history.read.find(name)
        run = history.read.run(stored)
        return run, of_history(history, journal, stored, run)
