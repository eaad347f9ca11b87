r"""One entry of the journal, its canonical form, and the hash that chains it. No I/O.

The chain can be checked with other tools. ``hash`` is the SHA-256, in hex, of two strings one after the other: the
``hash`` of the entry before (64 zeros before the first) and the canonical JSON of the entry, which is an object of
``actor, change, format, host, id, kind, payload, reason, sequence, ticket, time``: keys in order of code points, no
spaces, everything but ASCII as ``\u`` escapes, numbers as Python writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.errors import JournalError
from hostaudit.journal.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
GENESIS = "0" * 64
LARGEST = 8 * 1024 * 1024
"""Bytes of an entry's payload."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL stores no NUL, UTF-8 no lone surrogate


class Kind(StrEnum):
    """What an entry is about. Readers take any word, so that a newer writer does not break them."""

    RUN = "run"
    PLAN = "plan"
    CHANGE_BEGIN = "change-begin"
    STEP = "step"
    CHANGE_END = "change-end"
    ROLLBACK = "rollback"
    WINDOW_OVERRIDE = "window-override"
    LOCK_BROKEN = "lock-broken"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, and from where."""

    user: str
    """The person: the login name, behind sudo the one who called it."""
    machine: str
    """Host name of the controller."""
    ssh: str = ""
    """SSH_CONNECTION of the controller's session: client address, port, server address, port."""
    run_as: str = ""
    """The account the program ran under, where it is another one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened. The last four fields are given by the journal when it is appended."""

    kind: str
    time: datetime
    actor: Actor
    change: str = ""
    """Id of the change it belongs to."""
    host: str = ""
    reason: str = ""
    ticket: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is known: before and after, diff, versions of role and collection, probes, window."""
    id: str = ""
    sequence: int = 0
    """From 1, without gaps."""
    previous: str = ""
    hash: str = ""


def canonical(value: Any) -> str:
    """Return the one way to write this JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def row_of(entry: Entry) -> dict[str, Any]:
    """Return the columns of an entry, without secrets. Raises JournalError where it cannot be stored."""
    if entry.time.tzinfo is None:
        raise ValueError("the time of an entry has no zone")
    try:
        payload = canonical(redact(msgspec.to_builtins(dict(entry.payload), str_keys=True, enc_hook=str)))
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"an entry ({entry.kind}) holds what JSON cannot: {error}") from None
    if len(payload) > LARGEST:
        size, most = len(payload) >> 20, LARGEST >> 20
        raise JournalError(
            f"an entry ({entry.kind}) of {size} MiB is more than the journal takes ({most} MiB); "
            "keep the file elsewhere and enter its hash"
        )
    row: dict[str, Any] = {"id": entry.id, "time": told(entry.time), "kind": str(entry.kind), "payload": payload}
    row |= {name: _clean(getattr(entry, name)) for name in ("change", "host", "reason", "ticket")}
    return row | {f"actor_{part.name}": _clean(getattr(entry.actor, part.name)) for part in fields(Actor)}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the entry that is stored in these columns."""
    try:
        actor = Actor(*(row[f"actor_{part.name}"] for part in fields(Actor)))
        time = datetime.fromisoformat(row["time"])
        payload = json.loads(row["payload"])
    except (TypeError, ValueError):
        raise JournalError(
            f"entry {row['sequence']} of the journal is damaged; `hostaudit log verify` names what is wrong"
        ) from None
    plain = {name: row[name] for name in ("change", "host", "reason", "ticket", "id", "sequence", "previous", "hash")}
    return Entry(row["kind"], time, actor, payload=payload, **plain)


def digest(row: Mapping[str, Any]) -> str:
    """Return the hash that belongs to these columns, ``sequence`` and ``previous`` among them."""
    body = {name: row[name] for name in ("change", "host", "id", "kind", "reason", "sequence", "ticket", "time")}
    body["actor"] = {part.name: row[f"actor_{part.name}"] for part in fields(Actor)}
    body["format"] = FORMAT
    body["payload"] = json.loads(row["payload"])
    return hashlib.sha256((row["previous"] + canonical(body)).encode()).hexdigest()


def told(time: datetime) -> str:
    """Return a time as the journal writes it: UTC, of fixed width, so that its order is the text's order."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _clean(text: str) -> str:
    return redact_text(_UNSTORABLE.sub("\ufffd", text))
