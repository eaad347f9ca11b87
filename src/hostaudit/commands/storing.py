"""What the commands share that write or read the history: their options, where it is, and keeping a run in it."""

from __future__ import annotations

import sys
import tomllib
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.drift.settings import Settings, parse
from hostaudit.errors import JournalError, PolicyError
from hostaudit.model import Collected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hostaudit.commands.auditing import Audited
    from hostaudit.history import History, Stored


def store_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where runs are kept, and for how long."""
    function = click.option(
        "--keep",
        type=click.FloatRange(1),
        metavar="DAYS",
        help="Remove older runs from the history. [default: keep_days of [history], else 400]",
    )(function)
    function = click.option("--no-store", is_flag=True, help="Do not keep this run in the history.")(function)
    return journal_option(function)


def settings(policy: str | None) -> Settings:
    """Return what the policy says of the history and of drift. Raises PolicyError."""
    path = Path(policy or "hostaudit.toml")
    if policy is None and not path.exists():
        return Settings()
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read: {error}") from error


def note(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write(f"hostaudit: {text}\n")
    sys.stderr.flush()


@contextmanager
def reading(url: str | None) -> Iterator[History]:
    """Open the history for reading. Raises JournalError with the next step where there is none."""
    from hostaudit.history import History

    with History.open(url, readonly=True) as history:
        yield history


def keep(done: Audited, options: Mapping[str, Any]) -> None:
    """Store a run, and remove what is too old. What is wrong with the store is a note, never the audit's failure."""
    if options["no_store"] or options["from_"]:
        return
    from hostaudit.history import History

    days = options["keep"] or settings(options["policy"]).keep_days
    try:
        with History.open(options["journal"]) as history:
            stored(history, done, "run")
            prune(history, days)
    except JournalError as error:
        note(f"this run is not in the history: {error}")


def prune(history: History, days: float) -> None:
    """Remove what is too old; where that cannot be done now, the next run does it."""
    try:
        history.prune(days, datetime.now(UTC))
    except JournalError as error:
        note(f"old runs are still in the history: {error}")


def stored(history: History, done: Audited, kind: str) -> Stored:
    """Write a run."""
    return history.store(done.run, [a for a in done.answers if isinstance(a, Collected)], kind)
