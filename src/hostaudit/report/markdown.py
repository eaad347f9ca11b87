"""The run as Markdown, for a ticket: what is wrong, for whom, how to see it, what to do next.

Text from hosts stands in code, or has Markdown's characters escaped, so that it cannot become a link, an image or a
row. What stands between backticks, as in advice, stays code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TextIO

from hostaudit.model import Status
from hostaudit.report import Style, listed
from hostaudit.report._evidence import capped, evidence
from hostaudit.report._plain import parts
from hostaudit.report._spark import number, spark
from hostaudit.report._text import NAME, count, line
from hostaudit.report.table import grouped, related, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.model import Finding, Run
    from hostaudit.report.page.context import Context

MOST_HOSTS = 12
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)|^[-+=#]")


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the page."""
    out.write("\n".join(_page(run, style, context)).rstrip() + "\n")


def _page(run: Run, style: Style, context: Context) -> Iterator[str]:
    n = run.counts
    yield "## hostaudit: " + _verdict(run)
    yield ""
    yield f"{count(len(run.hosts), 'host')}, {run.started} to {run.finished}, run {code(run.id)}."
    yield f"{n['pass']} checks passed, {n['unknown']} not known, {n['n/a']} not applicable."
    shown = listed(run, style)
    for group, symptoms in related([f for f in shown if f.status is Status.FAIL], run.causes):
        yield from _cause(group, style)
        for below in grouped(symptoms):
            yield f"- Belongs to it: {_head(below[0])}, {_hosts(below, style)}: {text(below[0].summary)}"
    for status, title in ((Status.UNKNOWN, "Not known"), (Status.PASS, "Passed"), (Status.NA, "Not applicable")):
        groups = grouped(f for f in shown if f.status is status)
        yield from _list(title, [f"`{g[0].check}`, {_hosts(g, style)}: {text(g[0].summary)}" for g in groups])
    silent = [h for h in run.hosts if h.status == "unreachable"]
    yield from _list("Not audited", [f"{code(h.name)}: {text(h.reason)}" for h in silent])
    part = [h for h in run.hosts if h.status == "partial"]
    yield from _list("Read in part", list(capped([f"{code(h.name)}: {text(h.reason)}" for h in part], style)))
    waived = [
        f"`{w.finding.check}`, {_hosts([w.finding], style)}, until {w.expires}: {text(w.reason)}" for w in run.waived
    ]
    yield from _list("Waived", [*waived, *map(text, run.notices)])
    yield from _list("Over time", list(_series(context)))


def _verdict(run: Run) -> str:
    n = run.counts
    if n["fail"]:
        return f"{n['active']} active, {n['risk']} at risk"
    silent = sum(h.status == "unreachable" for h in run.hosts)
    return "nothing found" + (f", {count(silent, 'host')} not audited" if silent else "")


def _cause(group: list[Finding], style: Style) -> Iterator[str]:
    first = group[0]
    yield ""
    yield f"### {_head(first)}"
    yield ""
    yield f"{text(first.summary)}"
    yield ""
    yield f"- Hosts: {_hosts(group, style)}"
    others = [
        f"{code(f.host or ', '.join(f.hosts))}: {text(f.summary)}" for f in group[1:] if f.summary != first.summary
    ]
    yield from (f"- {said}" for said in capped(others, style))
    yield from (f"- Evidence: {code(said)}" for said in evidence(first.evidence, style))
    for label, said in parts(first):
        if label == "see it":
            yield from ("- See it:", "", *fenced(said), "")
        else:
            one, *rest = said.splitlines() or [""]
            yield f"- {label.capitalize()}: {text(one)}"
            yield from (f"  {text(more)}" for more in rest)


def _head(finding: Finding) -> str:
    grade = str(finding.grade or "").upper()
    return f"{grade} {finding.severity} `{finding.check}`".strip()


def _hosts(group: list[Finding], style: Style) -> str:
    names = where(group)
    shown = names if style.verbose or len(names) <= MOST_HOSTS else names[: MOST_HOSTS - 1]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(code(name, NAME) for name in shown) + more


def _list(title: str, rows: list[str]) -> Iterator[str]:
    if rows:
        yield from ("", f"### {title}", "", *(f"- {row}" for row in rows))


def _series(context: Context) -> Iterator[str]:
    for one in context.series:
        values = [p.value for p in one.points]
        known = [v for v in values if v is not None]
        if known:
            picture = code(spark(values, 24, one.limit))
            said = f"most {number(max(known))}, last {number(known[-1])} {one.unit}"
            yield f"{code(one.host)} {text(one.name)}: {picture} {text(said)}"


def text(given: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    pieces = line(given).split("`")
    if len(pieces) % 2:  # every span is closed
        return "".join(code(said) if n % 2 and said else _escaped(said) for n, said in enumerate(pieces))
    return _escaped("`".join(pieces))


def _escaped(given: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], given)


def code(given: str, most: int = 2000) -> str:
    """Return a code span, whatever backticks the text has (CommonMark 6.1)."""
    said = line(given, most) or " "
    fence = "`" * (max(map(len, re.findall("`+", said)), default=0) + 1)
    pad = " " if said.startswith("`") or said.endswith("`") else ""
    return f"{fence}{pad}{said}{pad}{fence}"


def fenced(given: str) -> list[str]:
    """Return the lines of an indented code block in a list item."""
    fence = "`" * max(3, max(map(len, re.findall("`+", given)), default=0) + 1)
    return [f"  {fence}sh", *(f"  {row}" for row in given.splitlines()), f"  {fence}"]
