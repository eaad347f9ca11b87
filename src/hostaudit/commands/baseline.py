"""``hostaudit baseline``: accept what a run saw, in a file that is reviewed and lives in git; and show it."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.drift import FILE, baseline
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.commands.storing import note, reading
from hostaudit.errors import UsageError
from hostaudit.model import Host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.drift.baseline import Baseline

MOST = 40
"""Lines of a summary."""
NAMES = 6
"""Hosts that a message names."""


@click.group("baseline", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Accept what is there, in a file for review and git, and show what is accepted.

    `accept` writes what a run of the history saw, `show` prints what is accepted; `hostaudit drift` compares with it.
    """


@command.command("accept", context_settings=VARIABLES)
@click.option(
    "--run", "run_", default="last", show_default=True, metavar="RUN", help="The run whose facts are accepted."
)
@click.option("-l", "--limit", metavar="NAMES", help="Only these hosts: names or globs, with commas.")
@click.option("--only", multiple=True, metavar="GLOB", help="Only facts whose path, or sysctl, this matches.")
@click.option("-C", "--check", is_flag=True, help="Say what would be accepted, and write nothing.")
@click.option("--baseline", "file", default=FILE, show_default=True, type=click.Path(dir_okay=False), help="The file.")
@journal_option
def accept(run_: str, limit: str | None, only: Sequence[str], check: bool, file: str, **options: Any) -> int:
    """Write the facts that a run saw into the baseline. Reads no host: what you reviewed is what is accepted.

    Exit code: 0; 2 no such run or host, or a file that cannot be read or written.
    """
    from hostaudit.commands.drifting import of_run
    from hostaudit.drift.baseline import accept as accepted
    from hostaudit.drift.baseline import changed, written

    old = baseline(file if Path(file).exists() else None) if Path(file).exists() else _empty()
    with reading(options["journal"]) as history:
        run = history.read.find(run_)
        names = _chosen(history.read.seen(run.number), limit, run.id)
        facts, cohorts, version = {}, {}, ""
        for name, known, inventory in of_run(history, run, names):
            if known.unread:
                where = ", ".join(sorted(prefix.rstrip(".") for prefix in known.unread))
                note(f"{name}: not accepted, because run {run.id} could not read it: {where}")
            blind = tuple(known.unread)
            facts[name] = {p: v for p, v in known.facts.items() if not p.startswith(blind)} if blind else known.facts
            cohorts[name] = Host(name, tuple(inventory.get("groups", ())), inventory.get("variables", {})).cohort
            version = known.agent or version
    new = accepted(old, facts, cohorts, version, only)
    _summary(changed(old, new), check=check, file=file, run=run.id)
    if not check:
        _write(Path(file), written(new))
    return 0


@command.command("show", context_settings=VARIABLES)
@click.argument("host", required=False)
@click.option("--baseline", "file", default=FILE, show_default=True, type=click.Path(dir_okay=False), help="The file.")
def show(host: str | None, file: str) -> int:
    """Print the hosts of the baseline, or what is accepted of one HOST, a fact a line."""
    if not Path(file).exists():
        raise UsageError(f"{file}: there is no baseline; `hostaudit baseline accept` makes one of the last run")
    there = baseline(file)
    if host is None:
        emit("".join(f"{n}: {len(there.hosts[n])} facts, cohort {there.cohorts[n]}\n" for n in sorted(there.hosts)))
    elif host not in there.hosts:
        raise UsageError(f"{file}: no host {host!r}; it has {', '.join(sorted(there.hosts)) or 'none'}")
    else:
        emit("".join(f"{path} = {value}\n" for path, value in sorted(there.hosts[host].items())))
    return 0


def _empty() -> Baseline:
    from hostaudit.drift.baseline import Baseline

    return Baseline()


def _chosen(seen: Sequence[str], limit: str | None, run: str) -> list[str]:
    globs = [glob.strip() for glob in (limit or "*").split(",") if glob.strip()]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in seen):
            more = f" and {len(seen) - NAMES} more" if len(seen) > NAMES else ""
            raise UsageError(f"-l {glob}: no such host in run {run}; it read {', '.join(seen[:NAMES]) or 'none'}{more}")
    return [name for name in seen if any(fnmatchcase(name, glob) for glob in globs)]


def _summary(changed: Sequence[tuple[str, str, str, str]], *, check: bool, file: str, run: str) -> None:
    if not changed:
        emit(f"{file}: nothing to accept: it has all this as run {run} saw it\n")
        return
    hosts = len({row[0] for row in changed})
    facts = f"{len(changed)} fact{'s' * (len(changed) != 1)} of {hosts} host{'s' * (hosts != 1)}"
    emit(f"{file}: {facts} {'to be ' if check else ''}accepted as run {run} saw them\n")
    if hosts * 100 < len(changed):  # new hosts, whole
        return
    emit("".join(f"  {host}: {path}: {was} -> {now}\n" for host, path, was, now in changed[:MOST]))
    if len(changed) > MOST:
        emit(f"  ... and {len(changed) - MOST} more\n")


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
