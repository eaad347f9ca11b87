"""Evidence as lines of text, for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.report import Style

MOST_ROWS = 4
"""Rows of a list inside the evidence; ``-v`` shows all."""


def capped(lines: list[str], style: Style) -> Iterator[str]:
    """Yield the first lines, and how many more there are."""
    most = len(lines) if style.verbose else MOST_ROWS
    yield from lines[:most]
    if len(lines) > most:
        yield f"and {len(lines) - most} more (-v shows them)"


def evidence(given: dict[str, Any], style: Style) -> Iterator[str]:
    """Yield the evidence as lines: lists of records first, one a line, then the plain values together."""
    for key, records in given.items():
        if _records(records):
            yield from (f"{key}: {line}" for line in capped([_record(r) for r in records], style))
    plain = [f"{k} {shown(v)}" for k, v in given.items() if not _records(v) and not _empty(v)]
    if plain:
        yield "; ".join(plain)


def _record(record: dict[str, Any]) -> str:
    """Return one record on a line; its ``rule``, where it has one, says most and comes first."""
    others = ", ".join(f"{k} {shown(v)}" for k, v in record.items() if k != "rule" and not _empty(v))
    return f"{record['rule']} ({others})" if "rule" in record else others


def _empty(value: Any) -> bool:
    """Tell what the table leaves out and JSON keeps: nothing to see. Zero and no are something."""
    return value is None or value in ("", [], (), {})


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def shown(value: Any) -> str:
    """Return a value of the evidence in words."""
    if isinstance(value, list | tuple):
        more = f" and {len(value) - MOST_ROWS} more" if len(value) > MOST_ROWS else ""
        return " ".join(shown(v) for v in value[:MOST_ROWS]) + more or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items() if not _empty(v)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
