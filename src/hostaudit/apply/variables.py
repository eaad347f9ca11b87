"""The variables of planned changes, for a play of Ansible. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.model import PlannedChange


def of_play(changes: Sequence[PlannedChange]) -> dict[str, str]:
    """Return the extra variables of one role for several hosts, each a text of YAML.

    Each host's own values are looked up by its name. Strings are marked as not to be templated: a plan may quote what
    a host said. All changes must have variables of the same names, see ``alike``.
    """
    table = {change.host: change.vars for change in changes}
    names = list(changes[0].vars) if changes else []
    found = {name: json.dumps(f"{{{{ hostaudit_planned[inventory_hostname][{name!r}] }}}}") for name in names}
    return {"hostaudit_planned": unsafe(table), **found}


def alike(changes: Sequence[PlannedChange]) -> list[list[PlannedChange]]:
    """Return the changes in groups that one play can make: the same role, variables of the same names."""
    groups: dict[tuple[str, tuple[str, ...]], list[PlannedChange]] = {}
    for change in changes:
        groups.setdefault((change.role, tuple(sorted(change.vars))), []).append(change)
    return list(groups.values())


def unsafe(value: Any) -> str:
    """Return JSON types as YAML on one line, every string marked ``!unsafe``."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {unsafe(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(unsafe(v) for v in value) + "]"
    return f"!unsafe {json.dumps(value)}" if isinstance(value, str) else json.dumps(value)
