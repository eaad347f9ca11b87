"""Write docs/outage.svg: what the terminal shows of the answers kept in docs/outage.answers.json.

The answers are of the lab (`tests/lab/lab.py outage`), while connections through odd ports failed.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hostaudit import report
from hostaudit.archive import load
from hostaudit.audit import Request, judged

TOP = Path(__file__).resolve().parent.parent
WIDTH = 100
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#1b1d23" />
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">{matrix}</g>
</g>
</svg>
"""
"""Rich's own frame links a font on the network; a picture in a repository must not."""


def main() -> int:
    """Write the picture; return the exit code."""
    answers, _ = load(TOP / "docs/outage.answers.json")
    run = judged(answers, Request(), datetime(2026, 1, 1, tzinfo=UTC))
    out = io.StringIO()
    report.render("table", run, out, report.Style(width=WIDTH, colour=True))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text("$ hostaudit run -i inventory.ini", style="bold"))
    console.print(Text.from_ansi(out.getvalue()))
    svg = console.export_svg(code_format=FORMAT, unique_id="outage")
    (TOP / "docs/outage.svg").write_text(svg.rstrip() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
