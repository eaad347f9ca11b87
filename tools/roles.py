"""The variables in the roles' READMEs, from ``meta/argument_specs.yml``. The rest of a README is written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "playbooks/roles"
MARKER = "variables"
"""The generated part stands between ``<!-- variables -->`` and ``<!-- /variables -->``."""


def prose(text: str | list[str]) -> str:
    """Return a description as Markdown: sentences in one line, and Ansible's ``C(word)`` as code."""
    joined = text if isinstance(text, str) else " ".join(text)
    return re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", " ".join(joined.split()))


def cell(text: str) -> str:
    """Return text that does not end a table's cell."""
    return text.replace("|", r"\|")


def kind(option: dict[str, Any]) -> str:
    """Return the type, with that of a list's elements."""
    name = str(option.get("type", "str"))
    return f"{name} of {option['elements']}" if "elements" in option else name


def given(option: dict[str, Any]) -> str:
    """Return the default, or that one has to be given, or that nothing is set without it."""
    if option.get("required"):
        return "**required**"
    return f"`{json.dumps(option['default'])}`" if option.get("default") is not None else "not set"


def table(options: dict[str, dict[str, Any]]) -> str:
    """Return the options as a table."""
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        meaning = prose(option["description"])
        if choices := option.get("choices"):
            meaning += f" One of {', '.join(f'`{c}`' for c in choices)}."
        lines.append(f"| `{name}` | {kind(option)} | {cell(given(option))} | {cell(meaning)} |")
    return "\n".join(lines)


def part(specs: dict[str, Any]) -> str:
    """Return what stands between the markers of a README: the options, and the entry points where there are several."""
    main = specs["main"]["options"]
    text = table(main)
    if len(specs) > 1:
        text += "\n\n| `tasks_from` | does |\n| --- | --- |\n"
        text += "\n".join(f"| `{name}` | {cell(prose(spec['short_description']))} |" for name, spec in specs.items())
    for name, spec in specs.items():
        if spec.get("options", {}) != main:
            text += f"\n\nFor `tasks_from: {name}`:\n\n{table(spec['options'])}"
    return text


def parts() -> dict[Path, str]:
    """Return each role's README with its generated part."""
    found = {}
    for file in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]
        found[file.parent.parent / "README.md"] = part(specs)
    return found
