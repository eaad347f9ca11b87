"""``hostaudit run``: read, judge, report."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit import report
from hostaudit.checks import all_checks
from hostaudit.commands.options import VARIABLES, collect_options, connection_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import PolicyError, UsageError
from hostaudit.evaluate import BUG
from hostaudit.model import Finding, Grade, Run, Severity, Status
from hostaudit.policy import Policy, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.audit import Answer

FAIL_ON = ("active", "info", "low", "medium", "high", "critical", "never")
INTERNAL = 1
UNREACHABLE = 4
FINDINGS = 8


@click.command("run", context_settings=VARIABLES)
@connection_options
@click.option(
    "--interval",
    type=click.FloatRange(0, 600),
    default=3,
    show_default=True,
    metavar="SECONDS",
    help="Time between the two samples of the counters; 0: one sample, so nothing can be active.",
)
@click.option("--all-netns", is_flag=True, help="Read the other network namespaces of each host too.")
@click.option("--census", is_flag=True, help="Count conntrack entries by state, also where the table is not half full.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check only; may be repeated.")
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False), help="Thresholds. [default: ./hostaudit.toml, if there]"
)
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
@click.option(
    "--from",
    "from_",
    envvar="HOSTAUDIT_FROM",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Judge answers kept with --save; reads no host.",
)
@click.option("--list-hosts", is_flag=True, help="Print the hosts that would be read, and stop.")
@click.option("-v", "--verbose", count=True, help="More detail in the table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def command(**options: Any) -> int:
    """Read the hosts of an inventory and report what loses packets there. Changes nothing.

    Exit code: 0 clean; 4 a host could not be audited; 8 findings at or above --fail-on; 12 both; 1 internal error;
    2 bad options, inventory or policy; 99 interrupted.
    """
    return audit_and_report(options)


def audit_and_report(options: Mapping[str, Any]) -> int:
    """Audit, print the report on stdout, return the exit code."""
    from hostaudit import audit

    style = _style(options)
    if options["format_"] not in report.formats():
        raise UsageError(f"--format {options['format_']}: not known; there are {', '.join(report.formats())}")
    audit.chosen(options["only"])  # a misspelt check is said before forty hosts are read
    request = audit.Request(_policy(options["policy"]), tuple(options["only"]))
    started = datetime.now(UTC)
    if options["from_"]:
        from hostaudit.archive import load

        answers, started = load(Path(options["from_"]))
    else:
        read = _read(options)
        if read is None:
            return 0
        answers = read
    if options["save"]:
        from hostaudit.archive import save

        save(Path(options["save"]), answers, started)
    result = audit.judged(answers, request, started)
    text = io.StringIO()
    report.render(options["format_"], result, text, style)
    emit(text.getvalue())
    return exit_code(result, options["fail_on"])


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


def _style(options: Mapping[str, Any]) -> report.Style:
    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((80, 24)).columns if terminal or os.environ.get("COLUMNS") else 80
    show = frozenset({Status.FAIL, Status.UNKNOWN, *(Status(s) for s in options["show"])})
    return report.Style(show, max(40, min(width, 120)), colour, options["verbose"])


def _policy(given: str | None) -> Policy:
    path = Path(given or "hostaudit.toml")
    if given is None and not path.exists():
        return Policy()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(document, {c.id: c.thresholds for c in all_checks().values()}, str(path))


def _read(options: Mapping[str, Any]) -> list[Answer] | None:
    """Collect from the inventory's hosts; ``None`` when only their names were asked for."""
    from hostaudit import audit, inventory
    from hostaudit.progress import Progress

    with Progress(quiet=options["quiet"], verbose=options["verbose"]) as progress:
        hosts, configured = inventory.read(
            options["inventory"],
            limit=options["limit"],
            extra_vars=options["extra_vars"],
            vault_password_file=options["vault_password_file"],
            notice=progress.notice,
        )
        if options["list_hosts"]:
            emit("".join(f"{host.name}\n" for host in hosts))
            return None
        progress.expect(len(hosts))
        return audit.collected(hosts, collect_options(options, configured), progress.done, progress.notice)
