"""The command line: options, and what a person is told when something is wrong. No logic."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from hostaudit import __version__
from hostaudit.errors import HostauditError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 99
FAIL_ON = ("active", "info", "low", "medium", "high", "critical", "never")
STATUSES = ("fail", "unknown", "pass", "n/a")


VARIABLES = {"auto_envvar_prefix": "HOSTAUDIT"}
"""Every option of a command is also a variable, ``HOSTAUDIT_<OPTION>``, whatever the command's name."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hostaudit")
def cli() -> None:
    """Find out why hypervisors and nodes lose packets silently: causes, with the evidence."""


def _connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
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


@cli.command(context_settings=VARIABLES)
@_connection_options
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
    type=click.Choice(STATUSES),
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
def run(**options: Any) -> int:
    """Read the hosts of an inventory and report what loses packets there. Changes nothing.

    Exit code: 0 clean; 4 a host could not be audited; 8 findings at or above --fail-on; 12 both; 1 internal error;
    2 bad options, inventory or policy; 99 interrupted.
    """
    from hostaudit.commands import run as command

    return command(options)


@cli.command(context_settings=VARIABLES)
@click.argument("check", required=False)
def explain(check: str | None) -> int:
    """Print the page of a CHECK, or the list of checks."""
    from hostaudit.commands import explain as command

    click.echo(command(check), nl=False)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code. What the user can mend is a sentence, a bug is a traceback."""
    try:
        return int(cli.main(args=arguments, prog_name="hostaudit", standalone_mode=False) or 0)
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except HostauditError as error:
        click.echo(f"hostaudit: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # the reader of our output went away (`| head`): not our failure, and Python must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
