"""The documentation page of a check, and the table of all checks, made from docstrings. Pure.

``hostaudit explain CHECK`` and docs/checks/CHECK.md are the same text.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from hostaudit.checks import HEADINGS, all_checks

if TYPE_CHECKING:
    from hostaudit.checks import Check


def sections(check: Check) -> dict[str, str]:
    """Return the text below each heading of the check's docstring, in the docstring's order, without indentation."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in check.doc.splitlines()[1:]:
        if line in HEADINGS:
            lines = found.setdefault(line, [])
        else:
            lines.append(line)
    return {heading: textwrap.dedent("\n".join(lines)).strip() for heading, lines in found.items()}


def page(check: Check) -> str:
    """Return the check's page as Markdown."""
    scope = "the hosts of a cohort" if check.cohort else "the whole run" if check.fleet else "one host"
    thresholds = ", ".join(f"`{name}` {value}" for name, value in check.thresholds.items())
    head = [
        f"# {check.id}",
        "",
        _marked(check.title),
        "",
        f"Severity {check.severity}. Judges {scope}. Reads {', '.join(f'`{name}`' for name in check.reads)}.",
    ]
    if thresholds:
        head += [f"Thresholds, in `[checks.{check.id}]` of hostaudit.toml: {thresholds}."]
    for heading, text in sections(check).items():
        head += ["", f"## {heading}", "", _links(text) if heading == "References" else _marked(text)]
    return "\n".join(head) + "\n"


def readme_table(folder: str = "docs/checks") -> str:
    """Return the table of all checks for README.md, which stands there between ``<!-- checks -->`` and its end."""
    rows = [
        f"| [`{check.id}`]({folder}/{check.id}.md) | {_marked(check.title)} | {check.severity} |"
        for check in all_checks().values()
    ]
    return "\n".join(["| check | what is in order when it passes | severity |", "| --- | --- | --- |", *rows]) + "\n"


def _marked(text: str) -> str:
    """Turn the docstring's literals into Markdown's."""
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def _links(text: str) -> str:
    return "\n".join(f"- <{line.strip()}>" for line in text.splitlines())
