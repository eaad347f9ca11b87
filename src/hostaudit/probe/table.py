"""Probes for a person at a terminal, 80 columns wide; and the same as one JSON document."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hostaudit.probe import say
from hostaudit.probed import SCHEMA, Verdict, by_target
from hostaudit.report._sheet import sheet

if TYPE_CHECKING:
    from rich.console import Console

    from hostaudit.probed import Probes, Series
    from hostaudit.report import Style

STRIP = 72
"""Characters of a strip on one line."""
STRIPS = 4
"""Lines of a strip that are shown; ``-v`` shows all."""
MARKS = {True: ("ok", "green"), False: ("FAILS", "bold red"), None: ("?", "yellow")}


def document(probes: Probes, started: str, finished: str, version: str) -> dict[str, Any]:
    """Return what was seen as builtin types, schema ``hostaudit.probe/1``."""
    return {
        "schema": SCHEMA,
        "started": started,
        "finished": finished,
        "version": version,
        "vantages": [asdict(one) for one in probes.vantages],
        "tcp": [_series(one) for one in probes.tcp],
        "arp": [asdict(one) for one in probes.arp],
        "mtu": [asdict(one) for one in probes.mtu],
        "tls": [asdict(one) for one in probes.tls],
        "dns": [asdict(one) for one in probes.dns],
    }


def _series(one: Series) -> dict[str, Any]:
    return {
        "vantage": one.vantage,
        "target": one.target,
        "address": one.address,
        "port": one.port,
        "verdict": one.verdict.value,
        "tried": len(one.tries),
        "ok": one.ok,
        "outcomes": one.counts,
        "connect_ms": one.percentiles,
        "pattern": one.pattern,
        "strip": one.strip,
        "error": one.error,
        "connections": [asdict(t) for t in one.tries],
    }


def render(probes: Probes, style: Style) -> str:
    """Return the report; a vantage point that was not reached is told once, at the end."""
    out = io.StringIO()
    probes = probes.reached()
    with sheet(out, style) as console:
        _tcp(console, probes, style)
        for arp in probes.arp:
            _line(console, arp.address, arp.vantage, *say.arp(arp))
        segment = ""
        for mtu in probes.mtu:
            if mtu.segment != segment:
                segment = mtu.segment
                console.print(f"{segment}")
            _line(console, mtu.address, mtu.vantage, *say.mtu(mtu))
        for tls in probes.tls:
            fine, lines = say.tls(tls)
            where = tls.target if tls.address in tls.target else f"{tls.target} ({tls.address})"
            _line(console, where, tls.vantage, fine, lines[0], *lines[1:])
        for dns in probes.dns:
            fine, lines = say.dns(dns)
            _line(console, f"{dns.name} at {dns.server}", dns.vantage, fine, lines[0], *lines[1:])
        for lost in (v for v in probes.vantages if v.status != "ok"):
            _line(console, f"from {lost.name}", "", None, f"could not be asked: {lost.reason}")
    return out.getvalue()


def _line(console: Console, what: str, vantage: str, fine: bool | None, text: str, *more: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    word, colour = MARKS[fine]
    head = Text(what, style="bold")
    head.append(f"  from {vantage}  " if vantage else "  ", style="dim")
    head.append(word, style=colour)
    console.print(head)
    for line in (text, *more):
        console.print(Padding(Text(line), (0, 0, 0, 4)))


def _tcp(console: Console, probes: Probes, style: Style) -> None:
    from rich.table import Table
    from rich.text import Text

    for target, members in by_target(probes.tcp).items():
        console.print(Text(target, style="bold"))
        grid = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("left", "left", "left", "right", "right", "right"):
            grid.add_column(justify=justify, no_wrap=True)
        grid.columns[0].overflow = "ellipsis"
        grid.add_row(*(Text(f"  {title}" if n == 0 else title, style="dim") for n, title in enumerate(_TITLES)))
        for one in members:
            grid.add_row(*_row(one))
        console.print(grid)
        for one in members:
            _details(console, one, style)
    if any(one.strip.strip(".") for one in probes.tcp):
        console.print(Text("  each character is a connection: . worked, x failed, ? could not be tried", style="dim"))
    if len({s.vantage for s in probes.tcp}) > 1 and len({(s.target, s.address) for s in probes.tcp}) > 1:
        _matrix(console, probes)


_TITLES = ("from", "address", "verdict", "ok", "p50", "p99")
COLOURS = {Verdict.OK: "green", Verdict.DOWN: "bold red", Verdict.PATH_DEPENDENT: "bold red", Verdict.UNTRIED: "yellow"}


def _row(one: Series) -> list[Any]:
    from rich.text import Text

    times = one.percentiles
    return [
        Text(f"  {one.vantage}"),
        Text(one.address or "-"),
        Text(one.verdict.value, style=COLOURS[one.verdict]),
        Text(f"{one.ok}/{one.judged}"),
        *(Text(say.milliseconds(times[name]) if times else "-") for name in ("p50", "p99")),
    ]


def _details(console: Console, one: Series, style: Style) -> None:
    """Print the strip and what is to be said, where it is not simply in order."""
    from rich.padding import Padding
    from rich.text import Text

    lines = say.series(one)
    if one.verdict is Verdict.OK and not lines and not style.verbose:
        return
    console.print(Padding(Text(f"{one.vantage} -> {one.address or one.target}:", style="dim"), (0, 0, 0, 2)))
    width = min(STRIP, style.width - 8)
    strips = [one.strip[at : at + width] for at in range(0, len(one.strip), width)]
    shown = strips if style.verbose else strips[:STRIPS]
    if len(strips) > len(shown):
        lines.append(f"({len(one.strip)} in all; -v shows the whole strip)")
    for line in [*shown, *lines]:
        console.print(Padding(Text(line), (0, 0, 0, 4)))


def _matrix(console: Console, probes: Probes) -> None:
    """Print vantage point by target: the share that works."""
    from rich.table import Table
    from rich.text import Text

    columns = list(dict.fromkeys((s.target, s.address) for s in probes.tcp))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for _ in columns:
        grid.add_column(justify="right", no_wrap=True)
    grid.add_row(Text("  from", style="dim"), *(Text(f"[{n}]", style="dim") for n, _ in enumerate(columns, 1)))
    cells = {(s.vantage, s.target, s.address): s for s in probes.tcp}
    for name in dict.fromkeys(s.vantage for s in probes.tcp):
        row = [cells.get((name, *column)) for column in columns]
        grid.add_row(
            Text(f"  {name}"),
            *(Text(f"{s.ok}/{s.judged}", style=COLOURS[s.verdict]) if s else Text("-") for s in row),
        )
    console.print(Text("all together, connections that worked", style="bold"))
    console.print(grid)
    for number, (target, address) in enumerate(columns, 1):
        known = target if address in target else f"{target} ({address})"
        console.print(Text(f"  [{number}] {known}", style="dim"))
