"""The installed agent: one tick of it. It remembers what moved since the last one, so that the next audit can tell.

A timer of systemd starts it once a minute. It reads what is cheap (``watch``), appends what moved to a ring of bounded
size (``store``), and writes metrics for node_exporter where somebody collects them (``metrics``). Beside its ring and
that one file it writes nothing; it sends nothing, and changes nothing of the node.

Nothing here imports ``snapshot``: sixty dataclasses cost more than the whole tick.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.ring import watch
from hostaudit_agent.ring.store import DIRECTORY, Busy, Store
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """usage: python3 hostaudit-agent.pyz ring [--directory DIR] [--bytes N] [--days N] [--textfile DIR]

Appends what moved on this node since the last time to a ring of files; a timer runs it once a minute.

  --directory DIR   where the ring is (/var/lib/hostaudit/ring)
  --bytes N         size of the ring, at most (4194304)
  --days N          age of what is kept, at most (8)
  --textfile DIR    also write metrics there for node_exporter, where that directory exists
"""
MEBIBYTE = 1 << 20
DAY = 86400.0


class Options(NamedTuple):
    """What the command line asks for."""

    directory: str = "/" + DIRECTORY
    limit: int = 4 * MEBIBYTE
    """Bytes"""
    days: float = 8.0
    textfile: str = ""


class UsageError(Exception):
    """A command line that cannot be obeyed, in one sentence."""


def parse(arguments: Sequence[str]) -> Options:
    """Parse the command line; argparse would cost as much as the whole tick."""
    options, words = Options(), list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in {"--directory", "--bytes", "--days", "--textfile"}:
            raise UsageError(f"unknown option {name + equals + value}; --help lists what there is")
        if not equals:
            if not words:
                raise UsageError(f"{name} needs a value")
            value = words.pop(0)
        if name == "--directory":
            options = options._replace(directory=value)
        elif name == "--textfile":
            options = options._replace(textfile=value)
        elif name == "--bytes":
            options = options._replace(limit=int(_number(name, value, 64 << 10, 1 << 30)))
        else:
            options = options._replace(days=_number(name, value, 0.01, 366))
    return options


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise UsageError(f"{name} {text}: expected a number from {least:g} to {most:g}")
    return number


def tick(options: Options, root: Root) -> list[str]:
    """Read, append, write the metrics; return what went wrong, as sentences."""
    trouble: list[str] = []
    with Store(options.directory, options.limit, options.days * DAY) as store:
        last = store.last()
        record, state = watch.look(root, last)
        try:
            store.append(record, state)
        except OSError as e:
            trouble.append(
                f"{e.filename or options.directory}: {e.strerror}; this tick is not kept, the next one covers it"
            )
        if options.textfile and root.exists(options.textfile):
            from hostaudit_agent.ring import metrics  # noqa: PLC0415 - most hosts have no node_exporter

            try:
                metrics.write(options.textfile, state, store.size())
            except OSError as e:
                trouble.append(
                    f"{e.filename or options.textfile}: {e.strerror}; the metrics are those of an earlier tick"
                )
    return trouble


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code: 1 where something could not be written."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(USAGE)
        return 0
    try:
        trouble = tick(parse(arguments), Root())
    except UsageError as e:
        sys.stderr.write(f"hostaudit-agent ring: {e}\n")
        return 2
    except Busy:  # somebody runs it by hand while the timer does, too
        return 0
    except OSError as e:
        trouble = [f"{e.filename or 'the ring'}: {e.strerror or e}"]
    for sentence in trouble:
        sys.stderr.write(f"hostaudit-agent ring: {sentence}\n")
    return 1 if trouble else 0
