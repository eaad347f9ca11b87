"""A plan for the person who reviews it: what would change where, what it risks and proves, and what is left alone.

Text from hosts is put into ``rich.text.Text``, never into markup, and loses its control characters before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from hostaudit.border import text as printable
from hostaudit.facts import said
from hostaudit.halves import HALF

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from hostaudit.model import Declined, KnobChange, Plan, PlannedChange
    from hostaudit.report import Style
from hostaudit.report._sheet import sheet

NOT_KNOWN = "not known: "
MOST_HOSTS = 12
"""Hosts named in one block; ``-v`` gives each host its own."""


def render(plan: Plan, out: TextIO, style: Style, file: str = "") -> None:
    """Write the plan, ``style.width`` columns wide; ``file`` is where it was saved, empty where it was not."""
    with sheet(out, style) as console:
        halves = [one for one in plan.declined if one.reason.startswith(HALF)]
        others = [one for one in plan.declined if not one.reason.startswith(HALF)]
        dark = [one for one in others if not one.check]
        unknown = [one for one in others if one.reason.startswith(NOT_KNOWN)]
        left = [one for one in others if one.check and not one.reason.startswith(NOT_KNOWN)]
        _left(console, " HALF A FIX ", halves, style, "bold white on red")
        for group in _same(plan.changes, style):
            _change(console, group, style)
        _left(console, " NOT DONE ", left, style, "bold")
        _brief(console, " NOT KNOWN ", unknown, style)
        _brief(console, " NOT AUDITED ", dark, style)
        _recap(console, plan, (len(left) + len(halves), len(unknown), len(dark)), file)
        if halves:
            names = _names(list(dict.fromkeys(one.host for one in halves)), style)
            console.print(f"HALF A FIX: {printable(names)} may go on dropping; see the top.", style="bold red")


def _same(changes: Iterable[PlannedChange], style: Style) -> list[list[PlannedChange]]:
    """Put changes that differ in nothing but the host together, in the order of the plan."""
    groups: dict[object, list[PlannedChange]] = {}
    for one in changes:
        key = one.id if style.verbose else (one.role, one.checks, one.owner, one.knobs, one.seconds, one.proof)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _change(console: Console, group: Sequence[PlannedChange], style: Style) -> None:
    from rich.text import Text

    first = group[0]
    head = Text()
    head.append(" CHANGE ", style="black on yellow")
    head.append(f" {printable(first.role)}", style="bold")
    rows: list[tuple[str, str]] = []
    places = _names([one.host for one in group], style)
    if len(head) + 2 + len(places) <= style.width:
        head.append(f"  {printable(places)}", style="bold")
    else:
        rows.append(("hosts", places))
    console.print(head)
    for number, knob in enumerate(first.knobs):
        rows += [("setting" if number == 0 else "", knob.knob), ("", _moves(knob))]
    rows += [
        ("owner", first.owner or "nothing known writes it again"),
        ("closes", ", ".join(first.checks)),
        ("takes", f"about {_time(first.seconds)} on each host, the undo {_time(first.undo_seconds)}"),
        ("risk", first.risk),
        ("proof", first.proof),
        *(("instead" if n == 0 else "", f"{way.name}: {way.cost}") for n, way in enumerate(first.alternatives)),
    ]
    if style.verbose:
        facts = [f"{path}: {said(first.values.get(path))}" for path in first.facts]
        rows += [("how instead", f"{way.name}: {way.how}") for way in first.alternatives]
        rows += [("rests on" if number == 0 else "", fact) for number, fact in enumerate(facts)]
    _rows(console, [row for row in rows if row[1]])


def _moves(knob: KnobChange) -> str:
    running = "no value" if knob.running is None else knob.running
    configured = "not set" if knob.configured is None else knob.configured
    stays = " (stays)" if knob.running == knob.then else ""
    return f"  now {running}, configured {configured}  ->  {knob.then}{stays}"


def _left(console: Console, title: str, declined: Iterable[Declined], style: Style, look: str) -> None:
    """Print what is not done: check and hosts, why, and what to do instead."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in declined:
        groups.setdefault((one.check, one.reason.removeprefix(HALF), one.advice), []).append(one.host)
    if not groups:
        return
    console.print(title, style=look if style.colour else None)
    for (check, reason, advice), hosts in groups.items():
        rows = [("finding", check), ("hosts" if len(hosts) > 1 else "host", _names(hosts, style))]
        rows += [("why", reason), ("instead", advice)]
        _rows(console, [row for row in rows if row[1]])


def _brief(console: Console, title: str, declined: Iterable[Declined], style: Style) -> None:
    """Print one line for each reason: who, and why."""
    groups: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for one in declined:
        checks, hosts = groups.setdefault(one.reason.removeprefix(NOT_KNOWN), ({}, {}))
        checks |= {one.check: None} if one.check else {}
        hosts[one.host] = None
    if not groups:
        return
    console.print(title, style="bold" if style.colour else None)
    rows = [
        (_names(list(hosts), style), f"{reason} ({', '.join(checks)})" if checks else reason)
        for reason, (checks, hosts) in groups.items()
    ]
    _rows(console, rows)


def _rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print label and text in two columns; the text wraps below itself."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=8, max_width=console.width // 3, overflow="fold")
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(printable(label), style="dim"), Text(printable(value)))
    console.print(Padding(grid, (0, 0, 1, 2)))


def _recap(console: Console, plan: Plan, number: tuple[int, int, int], file: str) -> None:
    left, unknown, dark = number
    hosts = len({one.host for one in plan.changes})
    total = sum(one.seconds for one in plan.changes)
    if plan.changes:
        what = f"{_count(len(plan.changes), 'change')} on {_count(hosts, 'host')}"
        console.print(f"Plan {printable(plan.id)}: {what}, about {_time(total)} one by one.")
    else:
        console.print(f"Plan {printable(plan.id)}: nothing to change.")
    rest = [f"{_count(left, 'finding')} left alone"] * bool(left) + [f"{unknown} not known"] * bool(unknown)
    rest += [f"{_count(dark, 'host')} not audited"] * bool(dark)
    if rest:
        console.print(f"{', '.join(rest)}.")
    if plan.changes:
        console.print(
            f"Nothing was changed. After the review: hostaudit apply {printable(file)}"
            if file
            else "Nothing was changed, and the plan was not kept: -o FILE writes it.",
            soft_wrap=True,
        )


def _names(names: Sequence[str], style: Style) -> str:
    if style.verbose or len(names) <= MOST_HOSTS:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_HOSTS - 1])} and {len(names) - MOST_HOSTS + 1} more (-v names them)"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _time(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"
