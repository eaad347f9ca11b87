"""Write the pictures of the documentation, from the answers kept in docs/outage.answers.json.

docs/outage.svg is what the terminal shows; docs/report.png and docs/report-beside.png are two parts of the HTML
report, with docs/outage.context.json beside the run, as a headless Chromium shows them, and are left as they are where
there is none. tools/recording.py recorded both in the lab: what the hosts answered while connections through odd ports
failed, and the rates, changes, probe and trace of that time. The report has the checks that can be judged from them.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from hostaudit import report
from hostaudit.archive import load
from hostaudit.audit import Request, judged
from hostaudit.checks import all_checks
from hostaudit.model import Collected
from hostaudit.report.page.context import Context

if TYPE_CHECKING:
    from hostaudit.model import Run

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


BROWSERS = ("chromium-headless-shell", "chromium")
PARTS = {"report.png": ("", 1130), "report-beside.png": ("time", 1880)}
"""Picture -> the section of the page that it begins at, and its height in pixels."""


def main() -> int:
    """Write the pictures; return the exit code."""
    answers, started = load(TOP / "docs/outage.answers.json")
    terminal(judged(answers, Request(), datetime(2026, 1, 1, tzinfo=UTC)))
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.stderr.write("picture: docs/report*.png are left as they are: there is no chromium; see make consumers\n")
        return 0
    snapshots = [one.snapshot for one in answers if isinstance(one, Collected)]
    read = [c.id for c in all_checks().values() if all(getattr(s, part, None) for s in snapshots for part in c.reads)]
    page(judged(answers, Request(only=tuple(read)), started), browser)
    return 0


def terminal(run: Run) -> None:
    """Write what the terminal shows."""
    out = io.StringIO()
    report.render("table", run, out, report.Style(width=WIDTH, colour=True))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text("$ hostaudit run -i inventory.ini", style="bold"))
    console.print(Text.from_ansi(out.getvalue()))
    svg = console.export_svg(code_format=FORMAT, unique_id="outage")
    (TOP / "docs/outage.svg").write_text(svg.rstrip() + "\n", encoding="utf-8")


def page(run: Run, browser: str) -> None:
    """Write what a browser shows of the HTML report. It is told to reach no network."""
    context = msgspec.json.decode((TOP / "docs/outage.context.json").read_bytes(), type=Context)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        out = io.StringIO()
        report.render("html", run, out, report.Style(), context)
        for name, (section, height) in PARTS.items():
            before, mark, after = out.getvalue().partition(f'<section id="{section}"')
            head = before.partition("<header")[0] + "<main>" if mark else before
            file.write_text(head + mark + after, encoding="utf-8")
            command = [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder}/profile", f"--window-size=1000,{height}",
                f"--screenshot={TOP / 'docs' / name}", file.as_uri(),
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main())
