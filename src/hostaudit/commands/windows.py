"""``hostaudit windows``: when changes are allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from hostaudit.commands.changing import policy_option, windows_of
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit

CLOSED = 75


@click.command("windows", context_settings=VARIABLES)
@click.option(
    "-i", "--inventory", multiple=True, metavar="PATH|h1,h2,", help="Inventory, as Ansible reads it; may be repeated."
)
@click.option("-l", "--limit", metavar="PATTERN", help="Only hosts that match Ansible's pattern.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V|@FILE", help="Variables above all others.")
@click.option(
    "--vault-password-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Password of Ansible vaults in the inventory.",
)
@policy_option
@click.option(
    "-n", "--number", type=click.IntRange(1, 100), default=5, show_default=True, metavar="N", help="How many to list."
)
def command(**options: Any) -> int:
    """Say whether changes are allowed now, and list the next windows; with -i for each host that has its own.

    Exit code: 0 open for all hosts; 75 closed for one at least; 2 bad options, inventory or policy.
    """
    from hostaudit.windows import Windows, decide, upcoming

    hosts = []
    if options["inventory"]:
        from hostaudit import inventory

        hosts = inventory.load(
            options["inventory"], options["limit"], options["extra_vars"], options["vault_password_file"]
        )
    from hostaudit.model import Host

    found = windows_of(hosts or [Host("all hosts")], options["policy"])
    groups: dict[Windows, list[str]] = {}
    for name, windows in found.items():
        groups.setdefault(windows, []).append(name)
    now, closed = datetime.now(UTC), False
    for windows, names in groups.items():
        decision = decide(now, windows)
        closed |= not decision.open
        emit(f"{', '.join(names)}: {decision.reason}\n")
        for opening in upcoming(now, options["number"], windows):
            if not windows.allow and not windows.deny:
                break
            end = f"{opening.end:%a %Y-%m-%d %H:%M}" if opening.end else "without an end in sight"
            emit(f"  {opening.start:%a %Y-%m-%d %H:%M} to {end} UTC\n")
    return CLOSED if closed else 0
