"""``hostaudit explain``: the pages of the checks, and of the failures that no check sees."""

from __future__ import annotations

import difflib
import textwrap

import click

from hostaudit.checks import all_checks
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError


@click.command("explain", context_settings=VARIABLES)
@click.argument("check", required=False)
def command(check: str | None) -> int:
    """Print the page of a CHECK, or of a failure that no check sees; without a name, list both."""
    emit(page(check))
    return 0


def page(check: str | None) -> str:
    """Return the page of a check or an explained failure, or a few lines for each."""
    from hostaudit.catalogue import explained
    from hostaudit.catalogue.pages import plain

    checks, others = all_checks(), explained()
    if check is None:
        listed = "".join(f"{c.id}  ({c.severity.value})\n{_indented(c.title)}\n" for c in checks.values())
        told = "".join(f"{row.id}\n{_indented(row.title)}\n" for row in others.values())
        return f"{listed}\nExplained only, hostaudit does not tell:\n\n{told}"
    if check in others:
        return plain(others[check])
    if check not in checks:
        near = difflib.get_close_matches(check, [*checks, *others], n=1)
        hint = f" Did you mean {near[0]}?" if near else " `hostaudit explain` lists them."
        raise UsageError(f"{check}: no such check.{hint}")
    return f"{check}\n{'=' * len(check)}\n\n{checks[check].doc}\n"


def _indented(text: str) -> str:
    return textwrap.fill(text, 80, initial_indent="    ", subsequent_indent="    ")
