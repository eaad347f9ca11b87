"""Options that several commands share: how hosts are found and reached. The letters are Ansible's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLES = {"auto_envvar_prefix": "HOSTAUDIT"}
"""Every option of a command is also a variable, ``HOSTAUDIT_<OPTION>``, whatever the command's name."""


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that Ansible's users know."""
    options = [
        click.option(
            "-i",
            "--inventory",
            multiple=True,
            metavar="PATH|h1,h2,",
            help="Inventory, as Ansible reads it; may be repeated. Without it: this host.",
        ),
        click.option("-l", "--limit", metavar="PATTERN", help="Only hosts that match Ansible's pattern."),
        click.option(
            "-f",
            "--forks",
            type=click.IntRange(1, 500),
            default=20,
            show_default=True,
            help="Hosts read at the same time.",
        ),
        click.option(
            "-e", "--extra-vars", multiple=True, metavar="K=V|@FILE", help="Variables above all others, as for Ansible."
        ),
        click.option("-u", "--user", metavar="NAME", help="Log in as this user where the inventory names none."),
        click.option("--private-key", metavar="FILE", help="Log in with this key where the inventory names none."),
        click.option("--ssh-common-args", metavar="ARGS", help="Further ssh options, e.g. '-J jump.example.net'."),
        click.option("-b", "--become", is_flag=True, help="Read through sudo."),
        click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for sudo's password."),
        click.option(
            "--become-password-file",
            type=click.Path(exists=True, dir_okay=False),
            help="Read sudo's password from this file.",
        ),
        click.option(
            "--vault-password-file",
            type=click.Path(exists=True, dir_okay=False),
            help="Password of Ansible vaults in the inventory.",
        ),
        click.option(
            "-T",
            "--timeout",
            type=click.FloatRange(0.1, 600),
            default=10,
            show_default=True,
            metavar="SECONDS",
            help="Limit for connecting and logging in.",
        ),
        click.option(
            "--run-timeout",
            type=click.FloatRange(1, 3600),
            default=30,
            show_default=True,
            metavar="SECONDS",
            help="Limit for reading a host, over and above the interval.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function
