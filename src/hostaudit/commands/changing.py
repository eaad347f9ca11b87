"""What the commands that change hosts share: their options, and the surroundings made from them."""

from __future__ import annotations

import io
import shlex
import signal
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hostaudit.commands.auditing import policy, style
from hostaudit.commands.options import reading_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import PolicyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hostaudit.change.context import Context
    from hostaudit.change.outcome import Outcome
    from hostaudit.model import Host
    from hostaudit.windows import Windows

VARIABLE = "hostaudit_windows"


def journal_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that says where the journal is."""
    return click.option(
        "--journal",
        metavar="URL",
        help="Where the journal is: sqlite:////path/journal.db or postgresql+psycopg://user@host/database. "
        "[default: this user's own]",
    )(function)


def format_option(help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the option that says what stdout gets, a table for people or JSON."""
    return click.option(
        "--format",
        "format_",
        envvar="HOSTAUDIT_FORMAT",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help=help_,
    )


def policy_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that names the policy file."""
    return click.option(
        "--policy",
        type=click.Path(exists=True, dir_okay=False),
        help="Thresholds and change windows. [default: ./hostaudit.toml, if there]",
    )(function)


def changing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how hosts are changed."""
    options: list[Callable[..., Any]] = [
        click.option(
            "--serial",
            metavar="STEPS",
            help="Sizes of the batches, as in 1,10%,50%. The first one is always a canary, one host of each cohort. "
            "[default: 1,10%,50%; all at once, up to 8 hosts, what is worse done by half than not at all]",
        ),
        click.option(
            "--confirm-timeout",
            type=click.IntRange(30, 3600),
            default=180,
            show_default=True,
            metavar="SECONDS",
            help="A host that is not confirmed within this time puts everything back by itself.",
        ),
        click.option(
            "--verify-seconds",
            type=click.FloatRange(1, 600),
            default=5,
            show_default=True,
            metavar="SECONDS",
            help="Length of the windows before and after the change that are compared.",
        ),
        click.option("--outside-window", is_flag=True, help="Change all the same; needs --reason, and is journaled."),
        click.option("--reason", default="", metavar="TEXT", help="Why, for the journal."),
        click.option("--ticket", default="", metavar="ID", help="The ticket it belongs to, for the journal."),
        click.option(
            "--fleet", default="default", show_default=True, metavar="NAME", help="What is locked meanwhile."
        ),
        journal_option,
        policy_option,
        format_option("What stdout gets."),
        click.option("-v", "--verbose", count=True, help="More detail."),
        click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@contextmanager
def surroundings(options: Mapping[str, Any]) -> Iterator[Context]:
    """Read the inventory, open the journal, and give both together. Raises UsageError, JournalError."""
    from hostaudit import inventory
    from hostaudit.apply.batches import parse_serial
    from hostaudit.apply.runner import Settings
    from hostaudit.change.context import Context, Ways
    from hostaudit.journal import Journal, whoami

    if not options["inventory"]:
        raise UsageError("a change is made on hosts that are named: give the inventory with -i")
    if options["outside_window"] and not options["reason"].strip():
        raise UsageError("--outside-window needs --reason: the next one wants to know why")
    ways = Ways(
        serial=parse_serial(options["serial"]) if options["serial"] else (),
        confirm_timeout=options["confirm_timeout"],
        verify=options["verify_seconds"],
        watch=options.get("watch"),
        keep_active=bool(options.get("keep_active")),
        outside_window=options["outside_window"],
        reason=options["reason"].strip(),
        ticket=options["ticket"].strip(),
        fleet=options["fleet"],
    )
    say = _quiet if options["quiet"] else _say
    hosts, configured = inventory.chosen(options, say)
    collecting = reading_options(options, configured, ways.verify)
    settings = Settings(
        inventory=tuple(str(Path(s).expanduser()) if "," not in s else s for s in options["inventory"]),
        forks=options["forks"],
        extra_vars=tuple(options["extra_vars"]),
        user=options["user"] or "",
        private_key=options["private_key"] or "",
        ssh_common_args=options["ssh_common_args"] or "",
        ssh_args=configured.ssh_args,
        become=options["become"],
        become_password=collecting.flags.become_password,
        vault_password_file=options["vault_password_file"] or "",
    )
    rules, windows = policy(options["policy"]), windows_of(hosts, options["policy"])
    with Journal.open(options["journal"]) as journal, _terminable():
        yield Context(
            {host.name: host for host in hosts},
            collecting,
            settings,
            journal,
            whoami(),
            say,
            policy=rules,
            windows=windows,
            ways=ways,
            limited=bool(options["limit"]),
        )


def windows_of(hosts: Iterable[Host], policy_file: str | None) -> dict[str, Windows]:
    """Return the windows of each host: those of the policy file, and of its variable ``hostaudit_windows``."""
    from hostaudit.windows import combine, parse

    path = Path(policy_file or "hostaudit.toml")
    entries: Any = []
    if path.exists():
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8")).get("windows", [])
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PolicyError(f"{path}: cannot be read: {error}") from error
    common = parse(entries, f"{path}: windows")
    found = {}
    for host in hosts:
        own = host.variables.get(VARIABLE, [])
        found[host.name] = combine(common, parse(own, f"{host.name}: {VARIABLE}", f"host {host.name}" if own else ""))
    return found


def report(outcome: Outcome, options: Mapping[str, Any]) -> int:
    """Print what was done on stdout; return the exit code."""
    from hostaudit.change import table

    if options["format_"] == "json":
        emit(table.document(outcome))
    else:
        text = io.StringIO()
        table.render(outcome, text, style(options), _again(options))
        emit(text.getvalue())
    return outcome.exit_code


def _again(options: Mapping[str, Any]) -> str:
    """Return the options with which the next command reaches the same hosts; variables hold for it, too."""
    given = click.get_current_context().get_parameter_source
    words = [word for source in options["inventory"] for word in ("-i", source)]
    words += ["-b"] if options["become"] and given("become") is not ParameterSource.ENVIRONMENT else []
    journal = options["journal"] and given("journal") is not ParameterSource.ENVIRONMENT
    return shlex.join([*words, "--journal", options["journal"]] if journal else words)


def _say(text: str) -> None:
    sys.stderr.write(f"hostaudit: {text}\n")
    sys.stderr.flush()


def _quiet(text: str) -> None:
    del text


@contextmanager
def _terminable() -> Iterator[None]:
    """Take SIGTERM and SIGHUP as Ctrl-C: what was begun is put back, not left."""

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    # nohup sets SIGHUP to be ignored: that is the user's decision
    wanted = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
