"""What the commands do with their options: from strings to values, through the pipeline, to a stream."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostaudit import report
from hostaudit.checks import all_checks
from hostaudit.errors import PolicyError, UsageError
from hostaudit.model import Finding, Grade, Run, Severity, Status
from hostaudit.policy import Policy, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.audit import Answer

UNREACHABLE = 4
FINDINGS = 8


def run(options: Mapping[str, Any]) -> int:
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
        answers = _read(options)
        if answers is None:
            return 0
    if options["save"]:
        from hostaudit.archive import save

        save(Path(options["save"]), answers, started)
    result = audit.judged(answers, request, started)
    report.render(options["format_"], result, sys.stdout, style)
    sys.stdout.flush()
    return exit_code(result, options["fail_on"])


def exit_code(result: Run, fail_on: str) -> int:
    """Return the bits: 4 a host could not be audited, 8 a finding at or above ``fail_on``."""
    code = UNREACHABLE if any(h.status == "unreachable" for h in result.hosts) else 0
    if any(_counts(f, fail_on) for f in result.findings):
        code |= FINDINGS
    return code


def explain(check: str | None) -> str:
    """Return the page of a check, or one line for each check."""
    checks = all_checks()
    if check is None:
        width = max(len(name) for name in checks)
        return "".join(f"{c.id:<{width}}  {c.severity.value:<8}  {c.title}\n" for c in checks.values())
    if check not in checks:
        near = difflib.get_close_matches(check, checks, n=1)
        hint = f" Did you mean {near[0]}?" if near else " `hostaudit explain` lists them."
        raise UsageError(f"{check}: no such check.{hint}")
    return f"{check}\n{'=' * len(check)}\n\n{checks[check].doc}\n"


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

    hosts = inventory.load(
        options["inventory"],
        limit=options["limit"],
        extra_vars=options["extra_vars"],
        vault_password_file=options["vault_password_file"],
    )
    if options["list_hosts"]:
        sys.stdout.write("".join(f"{host.name}\n" for host in hosts))
        return None
    with Progress(len(hosts), quiet=options["quiet"], verbose=options["verbose"]) as progress:
        return audit.collected(hosts, _collect_options(options), progress.done)


def _collect_options(options: Mapping[str, Any]) -> Any:
    raise NotImplementedError
