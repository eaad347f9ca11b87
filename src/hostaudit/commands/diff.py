"""``hostaudit diff``: two runs of the history, facts and verdicts."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.commands.storing import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.history import History, Stored
    from hostaudit.model import Finding

DIFFERENT = 16
NAMES = 6
"""Hosts that are named in a line; JSON has all."""


@click.command("diff", context_settings=VARIABLES)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B", default="last")
@click.option("--host", metavar="NAME|GLOB", help="Only these hosts.")
@click.option("--only", metavar="GLOB", help="Only facts whose path, or sysctl, this matches; no verdicts.")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    metavar="N",
    help="Most lines that are told.",
)
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What stdout gets; json has all lines.",
)
@journal_option
def command(before: str, after: str, **options: Any) -> int:
    """Tell what differs between run A and run B: ids or their beginnings, last, last~1, or a time.

    Hosts that answered in one of the two only are named; of the others, facts and verdicts are compared. Hosts with the
    same difference share a line.

    Exit code: 0 nothing differs; 16 something does; 2 no such run.
    """
    with reading(options["journal"]) as history:
        a, b = history.read.find(before), history.read.find(after)
        found = sorted([*_hosts(history, a, b, options), *_verdicts(history, a, b, options)], key=lambda row: row[:3])
    if options["format_"] == "json":
        keys = ("host", "kind", "what", "before", "after")
        rows = [dict(zip(keys, row, strict=True)) for row in found]
        emit(json.dumps({"schema": "hostaudit.diff/1", "before": a.id, "after": b.id, "lines": rows}, indent=1) + "\n")
    elif found:
        emit(f"{a.id} ({a.started}) -> {b.id} ({b.started})\n" + _text(found, options["number"]))
    return DIFFERENT if found else 0


Row = tuple[str, str, str, str, str]
"""Host, kind (host, fact, verdict), what, before, after."""


def _text(found: Sequence[Row], most: int) -> str:
    """Return a line for each difference; hosts with the same one share it."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for host, kind, what, was, now in found:
        groups.setdefault((kind, what, was, now), []).append(host)
    said = [f"{_names(hosts)}: {what}: {was} -> {now}\n" for (_, what, was, now), hosts in groups.items()]
    left = f"... and {len(said) - most} more; -n, or --format json, has them\n" if len(said) > most else ""
    return "".join(said[:most]) + left


def _names(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - NAMES} more" if len(hosts) > NAMES else ""
    return ", ".join(hosts[:NAMES]) + more


def _hosts(history: History, a: Stored, b: Stored, options: Any) -> Iterator[Row]:
    from hostaudit.commands.drifting import of_run
    from hostaudit.drift.baseline import matches
    from hostaudit.drift.flat import name_of
    from hostaudit.drift.kinds import compared

    read = history.read
    first, second = set(read.seen(a.number)), set(read.seen(b.number))
    for name in sorted(first ^ second):
        if _wanted(name, options):
            yield name, "host", "host", *(("answered", "no answer") if name in first else ("no answer", "answered"))
    both = [name for name in sorted(first & second) if _wanted(name, options)]
    pairs = zip(of_run(history, a, both), of_run(history, b, both), strict=True)
    for (name, then, _), (_, now, _) in pairs:
        for path, (here, there) in compared(now, then).items():
            if not options["only"] or matches(path, [options["only"]]):
                yield name, "fact", name_of(path), there, here


def _verdicts(history: History, a: Stored, b: Stored, options: Any) -> Iterator[Row]:
    if options["only"]:
        return
    sides = []
    for stored in (a, b):
        found: dict[tuple[str, str], str] = {}
        for one in history.read.run(stored).findings:
            for host in one.hosts or (one.host,):
                what = f"check {one.check}" + (f" ({one.netns})" if one.netns else "")
                found[host, what] = _verdict(one)
        sides.append(found)
    before, after = sides
    for host, what in before.keys() & after.keys():
        if before[host, what] != after[host, what] and _wanted(host, options):
            yield host, "verdict", what, before[host, what], after[host, what]


def _verdict(one: Finding) -> str:
    return f"{one.status.value} ({one.grade.value}, {one.severity.value})" if one.grade else one.status.value


def _wanted(name: str, options: Any) -> bool:
    return not options["host"] or fnmatchcase(name, options["host"])
