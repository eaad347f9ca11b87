"""``hostaudit run``: read, judge, report."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import click

from hostaudit import report
from hostaudit.commands.auditing import INTERNAL, UNREACHABLE, audited, judging_options, source_options, style
from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError
from hostaudit.evaluate import BUG
from hostaudit.model import Finding, Grade, Run, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

FAIL_ON = ("active", "info", "low", "medium", "high", "critical", "never")
FINDINGS = 8


@click.command("run", context_settings=VARIABLES)
@connection_options
@judging_options
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    default="table",
    show_default=True,
    metavar="FORMAT",
    help="table or json.",
)
@click.option(
    "--show",
    multiple=True,
    type=click.Choice([s.value for s in Status]),
    help="List findings of this status as well as failures and unknowns; may be repeated.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="low",
    show_default=True,
    help="Least severity (or any active finding) for exit code 8.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keep what the hosts answered, to judge it again with --from.",
)
@source_options
def command(**options: Any) -> int:
    """Read the hosts of an inventory and report what loses packets there. Changes nothing.

    Exit code: 0 clean; 4 a host could not be audited; 8 findings at or above --fail-on; 12 both; 1 internal error;
    2 bad options, inventory or policy; 99 interrupted.
    """
    return audit_and_report(options)


def audit_and_report(options: Mapping[str, Any]) -> int:
    """Audit, print the report on stdout, return the exit code."""
    if options["format_"] not in report.formats():
        raise UsageError(f"--format {options['format_']}: not known; there are {', '.join(report.formats())}")
    done = audited(options, options["save"])
    if done is None:
        return 0
    text = io.StringIO()
    report.render(options["format_"], done.run, text, style(options, options["show"]))
    emit(text.getvalue())
    return exit_code(done.run, options["fail_on"])


def exit_code(result: Run, fail_on: str) -> int:
    """Return the bits: 1 a check failed itself, 4 a host could not be audited, 8 a finding at or above ``fail_on``."""
    code = INTERNAL if any(BUG in f.evidence for f in result.findings) else 0
    if any(h.status == "unreachable" for h in result.hosts):
        code |= UNREACHABLE
    if any(_counts(f, fail_on) for f in result.findings):
        code |= FINDINGS
    return code


def _counts(finding: Finding, fail_on: str) -> bool:
    if finding.status is not Status.FAIL or fail_on == "never":
        return False
    if fail_on == "active":
        return finding.grade is Grade.ACTIVE
    return finding.severity.rank >= Severity(fail_on).rank
