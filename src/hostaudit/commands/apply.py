"""``hostaudit apply``: executes a plan, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hostaudit.commands.changing import changing_options, report, surroundings
from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.errors import UsageError


@click.command("apply", context_settings=VARIABLES)
@click.argument("plan", required=False, type=click.Path(dir_okay=False), metavar="PLAN")
@connection_options
@click.option("-C", "--check", is_flag=True, help="Say what would change, by Ansible's check mode; change nothing.")
@click.option("-D", "--diff", is_flag=True, help="With --check: show the differences. They are always shown here.")
@click.option(
    "--resume",
    metavar="CHANGE",
    is_flag=False,
    flag_value="all",
    help="End what a controller that died left unfinished, and go on with what a closed window left.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="How long to watch afterwards whether somebody takes a value back. [default: two periods of the owner]",
)
@click.option("--no-watch", is_flag=True, help="Do not watch afterwards.")
@click.option(
    "--keep-active",
    is_flag=True,
    help="Keep a change although its finding is still active: a program has to be restarted first, say.",
)
@changing_options
def command(**options: Any) -> int:
    """Execute the changes of PLAN: canary first, then in batches, each guarded by an undo on the host itself.

    Refuses a plan whose facts no longer hold. A host that is not confirmed in time puts everything back by itself.

    Exit code: 0 done; 4 a host did not answer; 8 something of the plan is left, or was taken back; 16 the plan is
    stale; 75 outside the change window, or another change holds the fleet; 1 internal error; 2 bad options, inventory,
    policy or plan; 99 interrupted.
    """
    from hostaudit.change import apply as change
    from hostaudit.change import resume
    from hostaudit.planfile import load

    if bool(options["plan"]) == bool(options["resume"]):
        raise UsageError("give the plan to execute, as in `hostaudit apply plan.json -i INVENTORY`, or --resume")
    plan = load(Path(options["plan"])) if options["plan"] else None
    options["watch"] = 0.0 if options["no_watch"] else options["watch"]
    with surroundings(options) as context:
        if plan is None:
            name = "" if options["resume"] == "all" else options["resume"]
            return report(resume.resume(context, name), options)
        if options["check"]:
            return report(change.checked(context, plan, lambda _event: None), options)
        return report(change.apply(context, plan), options)
