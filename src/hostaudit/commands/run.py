"""``hostaudit run``: read, judge, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands import overtime
from hostaudit.commands.alongside import with_probes
from hostaudit.commands.auditing import INTERNAL, UNREACHABLE, audited, judging_options, source_options
from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.commands.reporting import deliver, report_options, wanted
from hostaudit.commands.storing import keep, store_options
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
@report_options
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
@click.option(
    "--probe",
    is_flag=True,
    help="Also send a short probe to what the inventory declares: hostaudit_vips, hostaudit_probes, hostaudit_dns, "
    "hostaudit_management.",
)
@click.option(
    "--probe-from",
    multiple=True,
    metavar="HOST|GROUP|here",
    help="Send it from these hosts of the inventory; may be repeated. [default: here]",
)
@store_options
@source_options
def command(**options: Any) -> int:
    """Read the hosts of an inventory and report what loses packets there. Changes nothing.

    Exit code: 0 clean; 4 a host could not be audited; 8 findings at or above --fail-on; 12 both; 1 internal error;
    2 bad options, inventory or policy; 99 interrupted.
    """
    return audit_and_report(options)


def audit_and_report(options: Mapping[str, Any]) -> int:
    """Audit, make the reports, return the exit code."""
    if options["probe_from"] and not options["probe"]:
        raise UsageError("--probe-from belongs to --probe; add it, or leave it out")
    if options["probe"] and options["from_"]:
        raise UsageError(
            "--probe asks the network now, and --from judges answers of another time; leave one of them out"
        )
    targets = wanted(options)
    done = audited(options, options["save"])
    if done is None:
        return 0
    deliver(done.run, targets, options, with_probes(overtime.context(done.answers), done.probes))
    keep(done, options)
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
