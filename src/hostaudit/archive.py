"""Answers of hosts in a file, so that they can be judged again, elsewhere, or by a newer version."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.errors import UsageError
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA = "hostaudit.answers/1"
NEVER_KEPT = ("pass", "secret", "token", "vault")
"""Parts of names of inventory variables that are left out of the file."""


class _File(msgspec.Struct):
    schema: str
    started: datetime
    collected: list[Collected]
    unreachable: list[Unreachable]


def save(path: Path, answers: Sequence[Collected | Unreachable], started: datetime) -> None:
    """Write the answers; the file appears whole or not at all, readable by its owner only."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "started": started.astimezone(UTC).isoformat(),
        "collected": [_without_secrets(asdict(a)) for a in answers if isinstance(a, Collected)],
        "unreachable": [_without_secrets(asdict(a)) for a in answers if isinstance(a, Unreachable)],
    }
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(document, out)
            out.write("\n")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # where it could not be made it cannot be removed
            part.unlink()
        raise UsageError(f"--save {path}: cannot be written: {error.strerror}") from error


def load(path: Path) -> tuple[list[Collected | Unreachable], datetime]:
    """Read what ``save`` wrote. Raises UsageError for anything else, saying where it does not fit."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(f"--from {path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"--from {path}: not a file made with --save: {error}") from error
    if document.schema != SCHEMA:
        raise UsageError(f"--from {path}: has schema {document.schema!r}, this version reads {SCHEMA!r}")
    return [*document.collected, *document.unreachable], document.started


def _without_secrets(answer: dict[str, Any]) -> dict[str, Any]:
    variables = answer["host"]["variables"]
    answer["host"]["variables"] = {
        k: v for k, v in variables.items() if k.startswith("hostaudit_") and not any(n in k.lower() for n in NEVER_KEPT)
    }
    return answer
