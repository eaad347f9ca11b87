"""The document: a snapshot as one line of JSON, and what is left out of it where it would be too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit_agent.records import MISSING, fields
from hostaudit_agent.snapshot import SURFACES, Unread

if TYPE_CHECKING:
    from hostaudit_agent.snapshot import Snapshot

PARTS = (*SURFACES, "series", "namespaces")
"""What may be left out. ``unread`` never is."""


def as_json(value: Any) -> str:
    """Return the document: ASCII, one line, without fields that are empty and whose default is the same.

    The objects are taken as they lie; dataclasses.asdict would copy every knob first.
    """
    import json  # noqa: PLC0415 - not needed for --help

    known: dict[type, dict[str, Any]] = {}

    def plain(value: Any) -> Any:
        kind = type(value)
        if kind not in known:
            known[kind] = _defaults(kind)
        defaults = known[kind]
        return {k: v for k, v in vars(value).items() if v or k not in defaults or v != defaults[k]}

    return json.dumps(value, default=plain, separators=(",", ":"), check_circular=False)


def within(snapshot: Snapshot, most: float) -> str:
    """Return the document in at most so many MiB: of one that is longer the largest parts are left unread."""
    text = as_json(snapshot)
    if not most or len(text) <= most * (1 << 20):
        return text
    sizes = {part: len(as_json(getattr(snapshot, part))) for part in PARTS}
    for part in sorted(PARTS, key=lambda part: -sizes[part]):
        setattr(snapshot, part, [] if part == "namespaces" else None)
        why = f"budget: {sizes[part] >> 10} KiB of it are too much for an answer of {most:g} MiB"
        snapshot.unread = [u for u in snapshot.unread if part == "namespaces" or u.surface.partition(".")[0] != part]
        snapshot.unread.append(Unread(part, why))
        text = as_json(snapshot)
        if len(text) <= most * (1 << 20):
            break
    return text


def _defaults(kind: type) -> dict[str, Any]:
    return {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(kind)
        if f.default is not MISSING or f.default_factory is not MISSING
    }
