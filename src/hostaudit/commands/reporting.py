"""What the commands that report a run share: ``--format``, ``--reporter``, ``--show``, and where reports go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hostaudit import report
from hostaudit.commands.auditing import style
from hostaudit.commands.stdout import emit
from hostaudit.model import Status
from hostaudit.report._text import line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.model import Run
    from hostaudit.report._files import Target
    from hostaudit.report.page.context import Context


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is reported, in which formats, and where to."""
    options = [
        click.option(
            "--format",
            "format_",
            envvar="HOSTAUDIT_FORMAT",
            metavar="FORMAT",
            help=f"What stdout gets: {', '.join(report.formats())}. [default: table]",
        ),
        click.option(
            "--reporter",
            multiple=True,
            metavar="FORMAT[:FILE]",
            help="One more report, in this format to this file; may be repeated. Without FILE as --format.",
        ),
        click.option(
            "--show",
            multiple=True,
            type=click.Choice([s.value for s in Status]),
            help="List findings of this status as well as failures and unknowns; may be repeated.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def wanted(options: Mapping[str, Any], default: str | None = "table") -> list[Target]:
    """Return the reports that the options ask for; stdout gets ``default`` where they do not say.

    Raises UsageError, before any host is read.
    """
    from hostaudit.report._files import targets

    return targets(options["format_"], options["reporter"], default)


def heading(run: Run) -> str:
    """Return the line that says which run a table is of, where that is not the one that was just made."""
    return line(f"Run {run.id} of {run.started}, hostaudit {run.version}")


def deliver(
    run: Run,
    targets: Sequence[Target],
    options: Mapping[str, Any],
    context: Context | None = None,
    *,
    again: bool = False,
) -> None:
    """Make all reports; ``again``: of a run that was kept. Raises ReportError at the end if a file was not written."""
    from hostaudit.report._files import write
    from hostaudit.report.page.context import NOTHING

    looks = replace(style(options, options["show"]), heading=heading(run) if again else "")
    write(targets, run, looks, emit, context or NOTHING)
