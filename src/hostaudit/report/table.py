"""The run for a person at a terminal: what is wrong, worst first, one block per cause; then what is not known.

Text from hosts is put into ``rich.text.Text``, never into markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from hostaudit import causes as _causes
from hostaudit.model import Grade, Severity, Status
from hostaudit.report import Style, _history, _map, listed
from hostaudit.report._evidence import capped, evidence
from hostaudit.report._evidence import shown as in_words
from hostaudit.report._sheet import sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console, RenderableType

    from hostaudit.model import Cause, Finding, HostReport, Run
    from hostaudit.report.page.context import Context

INDENT = 4
"""Columns by which a symptom stands to the right of its cause."""
MOST_HOSTS = 12
"""Hosts named in one block; ``-v`` names all."""
COLOURS = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the report, ``style.width`` columns wide."""
    with sheet(out, style) as console:
        shown = listed(run, style)
        if style.heading:
            console.print(style.heading, style="bold" if style.colour else None)
            console.print()
        said: dict[tuple[str, str], str] = {}
        whys = {_causes.key(cause.finding): cause.why for cause in run.causes}
        for group, symptoms in related([f for f in shown if f.status is Status.FAIL], run.causes):
            _failure(console, group, style, said)
            if symptoms:
                _together(console, group, whys)
            for below in grouped(symptoms):
                _failure(console, below, style, said, INDENT)
        _brief(console, shown, Status.UNKNOWN, "NOT KNOWN", style)
        _unreachable(console, run.hosts)
        _partial(console, run.hosts, style)
        _brief(console, shown, Status.PASS, "PASSED", style)
        _brief(console, shown, Status.NA, "NOT APPLICABLE", style)
        _waivers(console, run, style)
        _history.render(console, context.series, style)
        _map.render(console, run.guests, style)
        _recap(console, run, anything=bool(shown))


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Put findings of one check with one cause together, keeping the order of the first of each."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        key = (one.check, one.grade, one.severity, one.owner, one.cause or one.summary)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def related(failed: list[Finding], causes: Iterable[Cause]) -> list[tuple[list[Finding], list[Finding]]]:
    """Return the groups that stand for themselves, each with the findings that belong to it.

    A group stands where the first of all these would.
    """
    above = {_causes.key(symptom): cause.finding for cause in causes for symptom in cause.symptoms}
    tops: dict[object, Finding] = {}
    below: dict[object, list[Finding]] = {}
    for one in failed:
        top = above.get(_causes.key(one), one)
        tops.setdefault(_causes.key(top), top)
        if top is not one:
            below.setdefault(_causes.key(top), []).append(one)
    return [(group, [s for one in group for s in below.get(_causes.key(one), ())]) for group in grouped(tops.values())]


def _together(console: Console, group: list[Finding], whys: Mapping[_causes.Key, str]) -> None:
    """Print how the symptoms that follow belong to the cause above."""
    from rich.padding import Padding
    from rich.text import Text

    why = next(whys[key] for key in map(_causes.key, group) if key in whys)
    console.print(Padding(Text(f"Belongs to it: {why}", style="dim"), (0, 0, 0, INDENT + 1)))


def where(findings: Iterable[Finding]) -> list[str]:
    """Return the places of the findings: host names, with the namespace where it is not the first."""
    return list(
        dict.fromkeys(
            f"{host} ({one.netns})" if one.netns else host for one in findings for host in one.hosts or (one.host,)
        )
    )


def _names(names: list[str], style: Style) -> str:
    if style.verbose or len(names) <= MOST_HOSTS:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_HOSTS - 1])} and {len(names) - MOST_HOSTS + 1} more (-v names them)"


def _failure(
    console: Console, group: list[Finding], style: Style, said: dict[tuple[str, str], str], indent: int = 0
) -> None:
    """Print one cause, or ``indent`` columns to the right a symptom of the one above.

    ``said`` maps what the report has said already (check and text) to the hosts it was said of.
    """
    from rich.padding import Padding
    from rich.text import Text

    first = group[0]
    active = first.grade is Grade.ACTIVE
    head = Text()
    head.append(" ACTIVE " if active else " RISK ", style="bold white on red" if active else "black on yellow")
    head.append(" ")
    head.append(first.severity.value, style=COLOURS[first.severity])
    head.append("  ")
    head.append(first.check, style="bold")
    rows: list[tuple[str, str]] = [("what", first.summary)]
    places = _names(where(group), style)
    if indent + len(head) + 2 + len(places) <= style.width:
        head.append(f"  {places}", style="bold")
    else:
        rows.insert(0, ("hosts", places))
    console.print(Padding(head, (0, 0, 0, indent)))
    if len(group) > 1 and len({f.summary for f in group}) > 1:
        others = [f"{f.host or ', '.join(f.hosts)}: {f.summary}" for f in group[1:]]
        rows += [("", line) for line in capped(others, style)]
    rows += [("evidence" if n == 0 else "", line) for n, line in enumerate(evidence(first.evidence, style))]
    if first.owner:
        rows.append(("owner", first.owner))

    def once(text: str) -> str:
        before = said.setdefault((first.check, text), places)
        return text if before == places or not text else f"as for {before}"

    rows += [("next" if n == 0 else "", line) for n, line in enumerate(once(first.advice).splitlines())]
    if first.remedy:
        values = ", ".join(f"{k}={in_words(v)}" for k, v in first.remedy.vars.items())
        rows.append(("remedy", f"role {first.remedy.role}: {values}"))
    rows.append(("see it", once(first.reproduce)))
    rows.append(("wrong if", once(first.disproof)))
    _rows(console, [(label, text) for label, text in rows if text], indent)


def _rows(console: Console, rows: Iterable[tuple[str, str]], indent: int = 0) -> None:
    """Print label and text in two columns; the text wraps below itself."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(label, style="dim"), Text(text))
    block: RenderableType = Padding(grid, (0, 0, 1, indent + 2))
    console.print(block)


def _brief(console: Console, shown: list[Finding], status: Status, title: str, style: Style) -> None:
    """Print a list of findings that need no block of their own: check, hosts, summary."""
    groups = grouped(f for f in shown if f.status is status)
    if not groups:
        return
    console.print(f" {title} ", style="bold" if style.colour else None)
    by_summary: dict[str, list[list[Finding]]] = {}
    for group in groups:
        by_summary.setdefault(group[0].summary, []).append(group)
    rows = []
    for summary, same in by_summary.items():
        checks = ", ".join(dict.fromkeys(g[0].check for g in same))
        rows.append((checks, f"{_names(where(f for g in same for f in g), style)}: {summary}"))
    _list(console, rows)


def _list(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print a heading and an indented text for each row."""
    from rich.padding import Padding
    from rich.text import Text

    for heading, text in rows:
        console.print(Padding(Text(heading), (0, 0, 0, 2)))
        console.print(Padding(Text(text, style="dim"), (0, 0, 0, 4)))
    console.print()


def _unreachable(console: Console, hosts: Iterable[HostReport]) -> None:
    rows = [(h.name, h.reason) for h in hosts if h.status == "unreachable"]
    if rows:
        console.print(" NOT AUDITED ", style="bold red")
        _rows(console, rows)


def _partial(console: Console, hosts: Iterable[HostReport], style: Style) -> None:
    same: dict[str, list[str]] = {}
    for host in hosts:
        if host.status == "partial":
            same.setdefault(host.reason, []).append(host.name)
    if same:
        console.print(" READ IN PART ", style="bold")
        _list(console, [(_names(names, style), reason) for reason, names in same.items()])


def _waivers(console: Console, run: Run, style: Style) -> None:
    """Print what is waived, one line for each waiver at most; then what the policy's author should know."""
    same: dict[tuple[str, str, str], list[Finding]] = {}
    for one in run.waived:
        same.setdefault((one.finding.check, one.expires, one.reason), []).append(one.finding)
    lines = [
        f"{check} on {_names(where(found), style)}, until {expires}: {reason}"
        for (check, expires, reason), found in same.items()
    ]
    if lines:
        console.print(" WAIVED ", style="bold" if style.colour else None)
        number, active = len(run.waived), sum(one.finding.grade is Grade.ACTIVE for one in run.waived)
        heading = f"{number} finding{'s' if number != 1 else ''}{f', {active} active' if active else ''}"
        _list(console, [(heading, "; ".join(capped(lines, style)))])
    if run.notices:
        console.print(" WAIVERS THAT EXPIRED ", style="bold" if style.colour else None)
        _list(console, [(place, text) for place, _, text in (line.partition(": ") for line in run.notices)])


def _recap(console: Console, run: Run, *, anything: bool) -> None:
    total = len(run.hosts)
    by = {s: sum(h.status == s for h in run.hosts) for s in ("ok", "partial", "unreachable")}
    said = ", ".join(f"{n} {s}" for s, n in by.items() if n)
    n = run.counts
    console.print(f"{total} host{'s' if total != 1 else ''}: {said}")
    console.print(
        f"findings: {n['active']} active, {n['risk']} risk; "
        f"{n['pass']} passed, {n['unknown']} not known, {n['n/a']} not applicable"
        + (f", {n['waived']} waived" if n.get("waived") else "")
    )
    if n["pass"] and not anything and not run.waived:
        console.print("Nothing that loses packets was found; --show pass lists what was looked at.")
