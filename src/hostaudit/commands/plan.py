"""``hostaudit plan``: findings into the exact changes that would end them, for a person to review."""

from __future__ import annotations

import io
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit import __version__
from hostaudit.commands.auditing import INTERNAL, UNREACHABLE, audited, judging_options, source_options, style
from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.commands.stdout import emit
from hostaudit.evaluate import BUG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.commands.auditing import Audited
    from hostaudit.model import Host, Plan, Run


@click.command("plan", context_settings=VARIABLES)
@connection_options
@judging_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the plan to this file, for `hostaudit apply`. Without it the plan is only shown.",
)
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What stdout gets: a table for people, or the plan's document.",
)
@source_options
def command(**options: Any) -> int:
    """Read hosts and plan the changes that would end the findings. Changes nothing.

    Exit code: 0 nothing to do, or the plan is made; 4 a host could not be audited; 1 internal error; 2 bad options,
    inventory or policy; 99 interrupted.
    """
    return audit_and_plan(options)


def audit_and_plan(options: Mapping[str, Any]) -> int:
    """Audit, plan, write the file, show the plan on stdout; return the exit code."""
    output = Path(options["output"]) if options["output"] else None
    if output and not output.parent.is_dir():
        from hostaudit.planfile import PlanFileError

        raise PlanFileError(f"{output}: there is no directory {output.parent}; make it first")
    done = audited(options)
    if done is None:
        return 0
    made = _plan(done, options)
    if output:
        from hostaudit.planfile import save

        save(output, made)
    emit(_shown(made, options))
    if output and not options["quiet"] and options["format_"] == "json":
        click.echo(f"hostaudit: the plan is in {output}", err=True)
    return exit_code(done.run)


def exit_code(run: Run) -> int:
    """Return the bits: 1 a check failed itself, 4 a host could not be audited."""
    code = INTERNAL if any(BUG in f.evidence for f in run.findings) else 0
    return code | (UNREACHABLE if any(h.status == "unreachable" for h in run.hosts) else 0)


def _plan(done: Audited, options: Mapping[str, Any]) -> Plan:
    from hostaudit.halves import accepting
    from hostaudit.plan import Made, plan

    now = datetime.now(UTC)
    made = Made(
        id=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        version=__version__,
        run=done.run.id,
        inventory=tuple(_absolute(source) for source in options["inventory"]),
        limit=options["limit"] or "",
    )
    first = plan(done.run.findings, done.answers, made, done.outside)
    if not (options["limit"] and not options["from_"] and accepting(first.changes)):
        return first
    return plan(done.run.findings, done.answers, made, _left_out(done, options))


def _left_out(done: Audited, options: Mapping[str, Any]) -> list[Host]:
    """Return the hosts of the inventory that --limit leaves out; none of them is read."""
    from hostaudit import inventory

    read = {answer.host.name for answer in done.answers}
    everyone = inventory.load(
        options["inventory"],
        extra_vars=options["extra_vars"],
        vault_password_file=options["vault_password_file"],
    )
    return [host for host in everyone if host.name not in read]


def _absolute(source: str) -> str:
    """Return an inventory's place as it can be found from any directory; a list of hosts stays as it is."""
    return source if "," in source else str(Path(source).expanduser().absolute())


def _shown(made: Plan, options: Mapping[str, Any]) -> str:
    if options["format_"] == "json":
        from hostaudit.planfile import encode

        return encode(made)
    from hostaudit.report._plan import render

    text = io.StringIO()
    render(made, text, style(options), options["output"] or "")
    return text.getvalue()
