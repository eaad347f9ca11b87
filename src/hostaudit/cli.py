"""The command line. Nothing is imported before it is needed: ``--help`` is asked for more often than anything else."""

from __future__ import annotations

import importlib

import click

from hostaudit import __version__
from hostaudit.errors import HostauditError

INTERRUPTED = 99
COMMANDS = {
    "run": "Read hosts and report what loses packets there.",
    "report": "Show a run that was kept, in another format.",
    "plan": "Read hosts and plan the changes that would end the findings.",
    "apply": "Execute a plan: canary, batches, each guarded by an undo on the host.",
    "rollback": "Put back what a change found, unless somebody changed it since.",
    "drift": "Tell what is not as it was, or not as it should be, since when and by whom; silent without news.",
    "baseline": "Accept what is there, in a file for review and git.",
    "history": "List the runs that are kept.",
    "diff": "Tell what differs between two runs.",
    "log": "List who changed what, when, from where and why.",
    "show": "Show an entry of the journal, a whole change, or a run.",
    "windows": "Say when changes are allowed.",
    "unlock": "Break the lock of a fleet whose change is surely over.",
    "probe": "Ask the network: handshakes, path MTU, ARP, TLS, DNS; from here or from hosts.",
    "trace": "Listen on every host while connecting, and say where packets die.",
    "paths": "Say which ways are asymmetric by design, and what share of connections fails.",
    "explain": "Print the page of a check, or the list of checks.",
}
"""Command -> its line of ``hostaudit --help``; the command itself is ``hostaudit.commands.<name>``."""


class Commands(click.Group):
    """The commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or ``None`` for a name that is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"hostaudit.commands.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing what it lists."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hostaudit")
def cli() -> None:
    """Find out why hypervisors and nodes lose packets silently: causes, with the evidence."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code. What the user can mend is a sentence, a bug is a traceback."""
    try:
        return int(cli.main(args=arguments, prog_name="hostaudit", standalone_mode=False) or 0)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except HostauditError as error:
        click.echo(f"hostaudit: {error}", err=True)
        return error.exit_code
