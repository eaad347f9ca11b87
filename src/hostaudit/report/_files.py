"""``FORMAT[:FILE]``: which reports go where, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

from hostaudit import report
from hostaudit.errors import UsageError
from hostaudit.report.page.context import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostaudit.model import Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context


class ReportError(UsageError):
    """A report could not be written; the message names the file, the reason, and what was written all the same."""


@dataclass(frozen=True, slots=True)
class Target:
    """A report that is wanted."""

    format: str
    file: Path | None = None
    """``None``: stdout."""


def targets(format_: str | None, reporters: Sequence[str], default: str | None = "table") -> list[Target]:
    """Return the reports of ``--format`` and ``--reporter``; one of them, else ``default``, is for stdout.

    Raises UsageError for a format that is none, two reports for one place, and a folder that is not there: before forty
    hosts are read, not after.
    """
    wanted = [_target(text) for text in reporters]
    streams = list(dict.fromkeys(one.format for one in wanted if one.file is None))
    if format_ is not None:
        _known("--format", format_, format_)
    if len(streams) > 1:
        raise UsageError(f"--reporter {streams[0]} and {streams[1]}: only one goes to stdout; write {streams[1]}:FILE")
    if streams and format_ is not None and format_ != streams[0]:
        raise UsageError(
            f"--format {format_} and --reporter {streams[0]}: only one goes to stdout; write {streams[0]}:FILE"
        )
    files = [one for one in wanted if one.file is not None]
    seen: dict[str, Target] = {}
    for one in files:
        place = os.path.realpath(str(one.file))
        if place in seen:
            raise UsageError(f"--reporter {one.format}:{one.file}: {seen[place].format} goes there, too")
        seen[place] = one
    shown = streams[0] if streams else format_ or default
    return [*([Target(shown)] if shown else []), *files]


def _target(text: str) -> Target:
    name, colon, file = text.partition(":")
    _known("--reporter", text, name)
    if not colon or file == "-":
        return Target(name)
    if not file:
        raise UsageError(f"--reporter {text}: no file after the colon; without one it goes to stdout")
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"--reporter {text}: {file} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--reporter {text}: there is no directory {path.parent}; make it first")
    return Target(name, path)


def _known(option: str, text: str, name: str) -> None:
    if name not in report.formats():
        raise UsageError(f"{option} {text}: not known; there are {', '.join(report.formats())}")


def write(
    wanted: Sequence[Target], run: Run, style: Style, emit: Callable[[str], None], context: Context = NOTHING
) -> None:
    """Make all reports; ``emit`` takes the one for stdout. A file that cannot be written stops no other.

    Files show what ``style`` lists, at 100 columns and without colour, so that they are the same from cron and from a
    terminal. Raises ReportError at the end, when all others are written.
    """
    plain = replaced(style, width=100, colour=False)
    failed = []
    for one in wanted:
        text = io.StringIO()
        report.render(one.format, run, text, style if one.file is None else plain, context)
        if one.file is None:
            emit(text.getvalue())
            continue
        try:
            replace(one.file, text.getvalue())
        except OSError as error:
            failed.append(f"--reporter {one.format}:{one.file}: cannot be written: {error.strerror}")
    if failed:
        others = [str(one.file or "stdout") for one in wanted if not any(f":{one.file}:" in line for line in failed)]
        said = f"; written all the same: {', '.join(others)}" if others else ""
        raise ReportError("\n".join(failed) + said)


def replace(path: Path, text: str) -> None:
    """Write a file at once: readers see the old one or the new one. Its mode stays; a new one follows the umask.

    A device or a pipe is written to as it is, since it cannot be replaced. Raises OSError; nothing is left then.
    """
    data = text.encode("utf-8", "backslashreplace")  # a lone surrogate of an inventory's file name
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        # made in any mode that the umask leaves: a report is read by others, such as node_exporter
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as out:
            if path.exists():
                os.fchmod(out.fileno(), path.stat().st_mode & 0o777)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # where it could not be made it cannot be removed
            part.unlink()
        raise
