"""Rates over time, one line each, for the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.report._spark import number, spark
from hostaudit.report._text import NAME, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hostaudit.report import Style
    from hostaudit.report.page.context import Series

WIDTH = 24
"""Columns of a picture."""
MOST = 12
"""Series shown; ``-v`` shows all."""


def render(console: Console, series: Sequence[Series], style: Style) -> None:
    """Print a line for each series that has a value: host, name, picture, largest and last value."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    given = [one for one in series if any(p.value is not None for p in one.points)]
    if not given:
        return
    console.print(" OVER TIME ", style="bold" if style.colour else None)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        grid.add_column(overflow="fold")
    shown = given if style.verbose else given[:MOST]
    for one in shown:
        values = [p.value for p in one.points]
        known = [v for v in values if v is not None]
        said = f"most {number(max(known))}, last {number(known[-1])} {one.unit}"
        picture = Text(spark(values, WIDTH, one.limit), no_wrap=True)
        grid.add_row(Text(line(one.host, NAME), style="bold"), Text(line(one.name, NAME)), picture, Text(line(said)))
    if len(given) > len(shown):
        grid.add_row(Text(f"and {len(given) - len(shown)} more (-v shows them)", style="dim"))
    console.print(Padding(grid, (0, 0, 1, 2)))
