"""Drift and differences of runs as text, Markdown and JSON: ordered, bounded, without colour, fit for mail. Pure."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hostaudit.drift.flat import key_of, name_of
from hostaudit.drift.model import READABLE, By, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostaudit.drift.model import Drift, Line

WIDTH = 100
MOST = 100
"""Groups of lines that are told; JSON has all."""
NAMES = 6
"""Hosts that are named of a group."""
_AGAINST = {Kind.CONFIGURED: "configured", Kind.BASELINE: "baseline", Kind.COHORT: "its cohort", Kind.LAST: "last run"}


def text(lines: Sequence[Line]) -> str:
    """Return a paragraph for each fact; hosts with the same fact and the same cause share one."""
    groups = _groups(lines)
    out = [_paragraph(group) for group in groups[:MOST]]
    if len(groups) > MOST:
        left = sum(len(group) for group in groups[MOST:])
        out.append(f"... and {left} more; --format json has all of them\n")
    return "\n".join(out)


def markdown(drift: Drift, lines: Sequence[Line]) -> str:
    """Return a table for a ticket."""
    if not lines:
        return ""
    out = [
        f"### Drift, {drift.at}\n",
        "| host | what | now | should be | since | who |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    groups = _groups(lines)
    for group in groups[:MOST]:
        one = group[0]
        cells = [_names(group), name_of(one.path), one.now, "; ".join(_references(one)), _since(one), _who(one)]
        out.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    if len(groups) > MOST:
        out.append(f"\n... and {sum(len(g) for g in groups[MOST:])} more.")
    return "\n".join(out) + "\n"


def document(drift: Drift, lines: Sequence[Line]) -> str:
    """Return the JSON document, schema ``hostaudit.drift/1``: all lines, the known ones marked as not new."""
    body: dict[str, Any] = {
        "schema": drift.schema,
        "run": drift.run,
        "at": drift.at,
        "hosts": drift.hosts,
        "drifted": len(drift.drifted),
        "new": len(drift.told),
        "lines": [asdict(one) | {"accept": accept(one)} for one in lines],
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def accept(line: Line) -> str:
    """Return the command that takes a fact into the baseline; empty for what is no fact."""
    if line.kinds == (Kind.UNREAD.value,):
        return ""
    short = key_of(line.path) or line.path
    return f"hostaudit baseline accept -l {line.host} --only '{short}'"


def _groups(lines: Iterable[Line]) -> list[list[Line]]:
    found: dict[tuple[str, ...], list[Line]] = {}
    for one in lines:
        same = (one.path, one.now, one.who.by, one.who.change or one.who.said, one.since.was, *one.kinds)
        found.setdefault(tuple(map(str, same)), []).append(one)
    return list(found.values())


def _paragraph(group: Sequence[Line]) -> str:
    one = group[0]
    if one.kinds == (Kind.UNREAD.value,):
        what = one.path.removeprefix(READABLE) if one.path.startswith(READABLE) else "host"
        return _wrapped(f"{_names(group)}: {what} {one.now}: {one.against[0].where}", "")
    known = "" if one.new else " (told before)"
    back = " (as it should be again)" if one.returned else ""
    out = _wrapped(f"{_names(group)}: {name_of(one.path)} is {one.now}{back}{known}", "")
    out += _wrapped("; ".join(_references(one)), "  not as: ")
    out += _wrapped(_since(one), "  since:  ")
    out += _wrapped(_who(one), "  who:    ")
    out += _wrapped(one.owner, "  owner:  ")
    if one.back:
        out += _wrapped(f"role {one.back.role}, {json.dumps(one.back.vars)}", "  back:   ")
    out += _wrapped(one.back_how, "  back:   ")
    accepted = accept(one) if not one.returned else ""
    if accepted and len(group) > 1:
        accepted = accepted.replace(f"-l {one.host} ", f"-l '{','.join(line.host for line in group)}' ")
    return out + _wrapped(accepted, "  accept: ")


def _references(line: Line) -> list[str]:
    return [f"{_AGAINST[a.kind]} {a.value}{f' ({a.where})' if a.where else ''}" for a in line.against]


def _since(line: Line) -> str:
    since = line.since
    if not since.first:
        return "before the first run that is kept" if not since.after else f"after {since.after}"
    return f"{since.first} (run {since.run})" + (f", after {since.after}" if since.after else "")


def _who(line: Line) -> str:
    who = line.who
    head = {By.UNKNOWN: "not known", By.CHANGE: "hostaudit"}.get(who.by, str(who.by.value))
    said = f"{head}: {who.said}" if who.said else head
    return said + "".join(f"; {one}" for one in who.evidence)


def _names(group: Sequence[Line]) -> str:
    names = [one.host for one in group]
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


def _wrapped(said: str, head: str) -> str:
    """Return a text as lines below ``head``; nothing for nothing. Long words (paths, commands) stay whole."""
    if not said:
        return ""
    indent = " " * (len(head) or 2)
    lines = textwrap.wrap(
        said, WIDTH, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def _cell(said: str) -> str:
    for bad, good in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "'"), ("\n", " ")):
        said = said.replace(bad, good)
    return said
