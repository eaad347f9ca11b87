"""``hostaudit drift``: what is not as it was, or not as it should be; silent when there is nothing new to say."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.auditing import UNREACHABLE, audited, judging_options, policy, source_options
from hostaudit.commands.options import VARIABLES, collect_options, connection_options
from hostaudit.commands.stdout import emit
from hostaudit.commands.storing import note, prune, settings, store_options, stored
from hostaudit.errors import JournalError, UsageError
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hostaudit.commands.auditing import Audited
    from hostaudit.drift.baseline import Baseline
    from hostaudit.drift.made import Made
    from hostaudit.drift.model import Drift
    from hostaudit.history import History, Stored
    from hostaudit.model import Host
    from hostaudit_agent.snapshot import Traces

DRIFTED = 16
FILE = "hostaudit-baseline.toml"
REMEMBERED = timedelta(days=400)
"""How far back changes of ours are looked for."""


@click.command("drift", context_settings=VARIABLES)
@connection_options
@judging_options
@click.option("--all", "all_", is_flag=True, help="Tell also what an earlier drift run told.")
@click.option(
    "--since",
    metavar="TIME",
    help="Compare with the last run before this time, and tell all of it: 2026-11-21, 2026-11-21T08:00; UTC.",
)
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False),
    help=f"What is accepted. [default: ./{FILE}, if there]",
)
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    type=click.Choice(["text", "markdown", "json", "html"]),
    default="text",
    show_default=True,
    help="What stdout gets.",
)
@click.option("--no-traces", is_flag=True, help="Do not ask hosts that drifted for what they remember of who it was.")
@store_options
@source_options
def command(**options: Any) -> int:
    """Tell what drifted: against what is configured, the baseline, the cohort, and the last drift run.

    Each drift is told once, by the first drift run that sees it; nothing new prints nothing.

    Exit code: 0 nothing differs; 16 something does, told now or before; 4 a host could not be audited; 20 both; 1
    internal error; 2 bad options, inventory, policy or baseline; 99 interrupted.
    """
    since = _since(options["since"])
    chosen = settings(options["policy"])
    accepted = baseline(options["baseline"])
    done = audited(options)
    if done is None:
        return 0
    history, writable = _open(options)
    try:
        from hostaudit.commands import drifting, telling
        from hostaudit.drift import text

        now = _kept(history, done) if history and writable else None
        asked = drifting.Asked(
            policy(options["policy"]), chosen, accepted, since, None if _offline(options) else _asking(done, options)
        )
        drift = drifting.found(done, history, now, _made(options) if history else {}, asked)
        shown = drift.lines if options["all_"] or since else drift.told
        emit(telling.rendered(drift, shown, done, options))
        if sys.stderr.isatty() and not options["quiet"]:
            note(text.summary(drift, shown))
        if history and now:
            try:
                _remember(history, now, done, drift)
            except JournalError as error:
                note(f"it is not written down what was told, so that it will be told again: {error}")
            prune(history, options["keep"] or chosen.keep_days)
    finally:
        if history:
            history.close()
    unreachable = any(isinstance(answer, Unreachable) for answer in done.answers)
    return (DRIFTED if drift.drifted else 0) | (UNREACHABLE if unreachable else 0)


def baseline(given: str | None) -> Baseline:
    """Read a baseline, by default the one in the working directory if it is there. Raises UsageError."""
    from hostaudit.drift.baseline import Baseline, parsed

    path = Path(given or FILE)
    if given is None and not path.exists():
        return Baseline()
    try:
        return parsed(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _since(given: str | None) -> str:
    from hostaudit.history import moment

    if given and not moment(given):
        raise UsageError(f"--since {given}: not a time; write 2026-11-21 or 2026-11-21T08:00")
    return moment(given) if given else ""


def _offline(options: Mapping[str, Any]) -> bool:
    return bool(options["from_"] or options["no_traces"])


def _open(options: Mapping[str, Any]) -> tuple[History | None, bool]:
    """Open the history, to write if that is possible; without any, only three of the four comparisons are made."""
    from hostaudit.history import History

    if not (options["no_store"] or options["from_"]):
        try:
            return History.open(options["journal"]), True
        except JournalError as error:
            note(f"this run is not kept, so that what it tells will be told again: {error}")
    try:
        return History.open(options["journal"], readonly=True), False
    except JournalError as error:
        note(f"not compared with earlier runs: {error}")
    return None, False


def _kept(history: History, done: Audited) -> Stored | None:
    try:
        return stored(history, done, "drift")
    except JournalError as error:
        note(f"this run is not kept, so that what it tells will be told again: {error}")
    return None


def _made(options: Mapping[str, Any]) -> dict[str, list[Made]]:
    from hostaudit.history.changes import made
    from hostaudit.journal import Journal

    with Journal.open(options["journal"], readonly=True) as journal:
        return made(journal, datetime.now(UTC) - REMEMBERED)


def _remember(history: History, now: Stored, done: Audited, drift: Drift) -> None:
    """Write down what was told; of hosts that did not answer, what was told before stays."""
    seen = [a.host.name for a in done.answers if isinstance(a, Collected)]
    silent = {a.host.name for a in done.answers if isinstance(a, Unreachable)}
    lines = [replace(line, new=False) for line in drift.lines if not line.returned]
    now_told = {(line.host, line.path) for line in drift.lines}
    old = [line for place, line in history.told().items() if place[0] in silent and place not in now_told]
    history.tell(now.number, seen, [*seen, *silent], [*lines, *old])


Question = list[tuple[str, str]]


def _asking(
    done: Audited, options: Mapping[str, Any]
) -> Callable[[Question], dict[str, tuple[Traces | None, list[str]]]]:
    """Return what asks hosts for their traces."""

    def ask(questions: Question) -> dict[str, tuple[Traces | None, list[str]]]:
        from hostaudit import border, inventory
        from hostaudit.bundle import build
        from hostaudit.collect import ask as put
        from hostaudit.journal.redact import redact_text
        from hostaudit.login import Flags
        from hostaudit.task import Task

        hosts: dict[str, Host] = {a.host.name: a.host for a in done.answers}
        configured = inventory.configured() if options["inventory"] else Flags()
        collecting = collect_options(options, configured)
        jobs = [
            (hosts[name], Task(("traces", question), options["run_timeout"], border.snapshot))
            for name, question in questions
        ]
        found: dict[str, tuple[Traces | None, list[str]]] = {}
        for answer in put(jobs, build(), collecting):
            if isinstance(answer, Unreachable):
                found[answer.host.name] = (None, [f"the host could not be asked who it was: {answer.reason}"])
                continue
            traces = answer.value.traces
            for one in traces.commands if traces else ():
                one.text = redact_text(one.text)
            for one in traces.mentions if traces else ():
                one.file = redact_text(one.file)
            unread = [f"{u.surface.removeprefix('traces.')} not read: {u.reason}" for u in answer.value.unread]
            found[answer.host.name] = (traces, unread)
        return found

    return ask
