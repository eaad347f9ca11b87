"""Options that several commands share: how hosts are found and reached. The letters are Ansible's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hostaudit.collect import CollectOptions
    from hostaudit.login import Flags

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
            help="Hosts worked on at the same time; those that only wait lend their place.",
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


def exchange_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is said once a connection stands, --send and --expect; both become bytes as Latin-1."""
    send = click.option(
        "--send",
        default="",
        metavar="TEXT",
        callback=_bytes,
        help="Send this once connected; \\r, \\n and \\xNN are understood.",
    )
    expect = click.option(
        "--expect",
        default="",
        metavar="TEXT",
        callback=_bytes,
        help="The reply has to contain this; otherwise it is a failure.",
    )
    return send(expect(function))


def _bytes(context: click.Context, option: click.Parameter, text: str) -> str:
    """Return the bytes of a text as Latin-1, with its backslash sequences resolved."""
    del context
    try:
        return text.encode("utf-8").decode("unicode_escape").encode("latin-1").decode("latin-1")
    except UnicodeError as problem:
        raise UsageError(f"--{option.name} {text!r}: a backslash sequence that is none: {problem}") from None


def collect_options(options: Mapping[str, Any], configured: Flags) -> CollectOptions:
    """Turn the options into what ``collect`` takes. Asks for sudo's password where that was wanted.

    Raises UsageError when the password cannot be had.
    """
    from hostaudit.collect import CollectOptions
    from hostaudit.login import Flags

    flags = Flags(
        user=options["user"] or "",
        private_key=options["private_key"] or "",
        ssh_common_args=options["ssh_common_args"] or "",
        become=True if options["become"] else None,
        become_password=_become_password(options),
    )
    return CollectOptions(
        forks=options["forks"],
        connect_timeout=options["timeout"],
        run_timeout=options["interval"] + options["run_timeout"],
        interval=options["interval"],
        all_netns=options["all_netns"],
        census=options["census"],
        flags=flags,
        configured=configured,
    )


def reading_options(options: Mapping[str, Any], configured: Flags, interval: float = 0.0) -> CollectOptions:
    """Return ``collect_options`` for a command that has no options of its own for what the agent reads.

    That is this network namespace without a census, and once, or twice with ``interval`` seconds between.
    """
    return collect_options({**options, "interval": interval, "all_netns": False, "census": False}, configured)


def _become_password(options: Mapping[str, Any]) -> str:
    if options["become_password_file"]:
        file = Path(options["become_password_file"])
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--become-password-file {file}: cannot be read: {error}") from error
    if not options["ask_become_pass"]:
        return ""
    if not sys.stdin.isatty():
        raise UsageError("-K asks on a terminal and there is none; give --become-password-file")
    return str(click.prompt("sudo password", hide_input=True, err=True, default="", show_default=False))
