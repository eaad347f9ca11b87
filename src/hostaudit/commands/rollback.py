"""``hostaudit rollback``: puts back what a change found, unless somebody else changed it since."""

from __future__ import annotations

from typing import Any

import click

from hostaudit.commands.changing import changing_options, report, surroundings
from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.errors import UsageError


@click.command("rollback", context_settings=VARIABLES)
@click.argument("change", metavar="CHANGE")
@connection_options
@click.option("--force", is_flag=True, help="Put back also what somebody changed since; needs --reason.")
@changing_options
def command(change: str, **options: Any) -> int:
    """Put back what CHANGE found, on every host where it is in force. `hostaudit log` lists changes.

    Refuses, with before, what was written and now, where somebody changed something since. The same guard, lock and
    window as for a change.

    Exit code: 0 done; 4 a host did not answer; 8 not everything is back; 16 somebody changed it since; 75 outside the
    change window, or another change holds the fleet; 1 internal error; 2 bad options or no such change; 99 interrupted.
    """
    from hostaudit.change.undo import rollback

    if options["force"] and not options["reason"].strip():
        raise UsageError("--force needs --reason: it overwrites what somebody else decided")
    with surroundings(options) as context:
        return report(rollback(context, change, force=options["force"]), options)
