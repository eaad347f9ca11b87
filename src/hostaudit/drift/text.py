"""Drift and differences of runs as text, Markdown and JSON: ordered, bounded, without colour, fit for mail. Pure."""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hostaudit.drift.flat import key_of, name_of
from hostaudit.drift.model import READABLE, By, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostaudit.drift.model import Drift, Line
    from hostaudit.model import Remedy

WIDTH = 80
MOST = 100
"""Groups of lines that are told; JSON has all."""
NAMES = 6
"""Hosts that are named of a group."""
LONGEST = 400
"""Characters of host names in a command; mail breaks lines of a thousand."""
_AGAINST = {
    Kind.CONFIGURED: "as configured",
    Kind.BASELINE: "in the baseline",
    Kind.COHORT: "in its cohort",
    Kind.LAST: "in the last run",
}


def text(lines: Sequence[Line], width: int = WIDTH) -> str:
    """Return a paragraph for each fact; hosts with the same fact and the same cause share one.

    Lines are at most ``width`` long, except commands: these are one line each, to be pasted.
    """
    groups = _groups(lines)
    out = [_paragraph(group, width) for group in groups[:MOST]]
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
    return _accept([line])


def _groups(lines: Iterable[Line]) -> list[list[Line]]:
    found: dict[tuple[str, ...], list[Line]] = {}
    for one in lines:
        same = (one.path, one.now, one.who.by, one.who.change or one.who.said, one.since.was, *one.kinds)
        found.setdefault(tuple(map(str, same)), []).append(one)
    return list(found.values())


def summary(drift: Drift, shown: Sequence[Line]) -> str:
    """Return a sentence for a person who waits at a terminal: what was looked at, and what is not told again."""
    differ = len(drift.drifted)
    unread = sum(one.kinds == (Kind.UNREAD.value,) for one in drift.lines)
    known = len(drift.lines) - len(shown)
    said = [
        f"{drift.hosts} host{'s' * (drift.hosts != 1)}: {differ or 'no'} fact{'s' * (differ != 1)} drifted",
        f"{unread} not readable" if unread else "",
        f"{known} told before (--all tells them again)" if known else "",
    ]
    return "; ".join(filter(None, said))


def _paragraph(group: Sequence[Line], width: int) -> str:
    one = group[0]

    def wrapped(said: str, head: str) -> str:
        return _wrapped(said, head, width)

    if one.kinds == (Kind.UNREAD.value,):
        what = one.path.removeprefix(READABLE) if one.path.startswith(READABLE) else "host"
        return wrapped(f"{_names(group)}: {what} {one.now}: {one.against[0].where}", "")
    known = "" if one.new else " (told before)"
    back = " (as it was before it drifted)" if one.returned else ""
    out = wrapped(f"{_names(group)}: {name_of(one.path)} is {one.now}{back}{known}", "")
    out += wrapped("; ".join(_references(one)), "  was:    " if one.returned else "  not as: ")
    out += wrapped(_since(one), "  since:  ")
    out += wrapped(_who(one), "  who:    ")
    if one.returned:
        return out
    out += wrapped(one.owner, "  owner:  ")
    if one.back:
        out += f"  back:   {_play(one.back, group)}\n"
    out += wrapped(one.back_how, "  back:   ")
    return out + f"  accept: {_accept(group)}\n"


def _play(back: Remedy, group: Sequence[Line]) -> str:
    """Return the command that puts it back; of the project's playbooks, with the inventory to be filled in."""
    values = json.dumps({"hostaudit_roles": [back.role], **back.vars})
    return _for("ansible-playbook -i INVENTORY playbooks/remediate.yml", group, f"-e {shlex.quote(values)}")


def _accept(group: Sequence[Line]) -> str:
    path = group[0].path
    return _for("hostaudit baseline accept", group, f"--only {shlex.quote(key_of(path) or path)}")


def _for(command: str, group: Sequence[Line], more: str) -> str:
    """Return a command for these hosts, quoted: names of interfaces and rules come from hosts."""
    names = ",".join(line.host for line in group)
    if len(names) > LONGEST:
        return f"{command} -l NAMES {more}  # NAMES: these {len(group)} hosts; --format json has them"
    return f"{command} -l {shlex.quote(names)} {more}"


def _references(line: Line) -> list[str]:
    return [f"{a.value} {_AGAINST[a.kind]}{f' ({a.where})' if a.where else ''}" for a in line.against]


def _since(line: Line) -> str:
    since = line.since
    if not since.first:
        return "before the first run that is kept" if not since.after else f"after {since.after}"
    return f"{since.first} (run {since.run})" + (f", after {since.after}" if since.after else "")


def _who(line: Line) -> str:
    who = line.who
    head = {By.UNKNOWN: "not known", By.CHANGE: "hostaudit"}.get(who.by, str(who.by.value))
    said = f"{head}: {who.said}" if who.said else head
    return said + "".join(f"; {one}" for one in who.evidence if one not in who.said)


def _names(group: Sequence[Line]) -> str:
    names = [one.host for one in group]
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


def _wrapped(said: str, head: str, width: int) -> str:
    """Return a text as lines below ``head``; nothing for nothing. Long words (paths) stay whole."""
    if not said:
        return ""
    indent = " " * (len(head) or 2)
    lines = textwrap.wrap(
        said, width, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def _cell(said: str) -> str:
    for bad, good in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "'"), ("\n", " ")):
        said = said.replace(bad, good)
    return said
