"""Where the reports for people are written: a rich console without markup, whose lines end where their text ends."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from hostaudit.report import Style


@contextmanager
def sheet(out: TextIO, style: Style) -> Iterator[Console]:
    """Give a console ``style.width`` columns wide; what is printed there goes to ``out`` at the end."""
    from rich.console import Console

    text = io.StringIO()
    yield Console(
        file=text,
        width=style.width,
        force_terminal=style.colour,
        no_color=not style.colour,
        color_system="standard" if style.colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    # rich fills its cells with blanks up to the width; a report that is mailed or diffed must not have them
    out.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
