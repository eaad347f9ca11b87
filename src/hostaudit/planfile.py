"""A plan as a file: schema ``hostaudit.plan/1``, one JSON document.

The last key, ``sha256``, is over the canonical JSON of all others: a plan that was edited, or arrived in part, is not
executed. It guards against mistakes; whoever may write the file may also write the key.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.errors import UsageError
from hostaudit.facts import digest
from hostaudit.model import PLAN_SCHEMA, Plan

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 64 * 2**20
"""Bytes; a change takes about 4 KiB."""


class PlanFileError(UsageError):
    """The file is no plan of this version, or not the one that was written."""


def encode(plan: Plan) -> str:
    """Return the document, indented, with a final newline; equal plans give equal text."""
    document = {"schema": plan.schema, **asdict(plan)}
    return json.dumps({**document, "sha256": digest(document)}, indent=1, ensure_ascii=True) + "\n"


def save(path: Path, plan: Plan) -> None:
    """Write the plan; the file appears whole or not at all, readable by its owner only. Raises PlanFileError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(encode(plan))
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise PlanFileError(f"{path}: the plan cannot be written: {error.strerror}") from error


def load(path: Path) -> Plan:
    """Read what ``save`` wrote. Raises PlanFileError for anything else, saying what it is and what to do."""
    again = "make one with `hostaudit plan -i INVENTORY -o FILE`"
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise PlanFileError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise PlanFileError(f"{path}: larger than {LARGEST >> 20} MiB, so it is no plan; {again}")
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PlanFileError(f"{path}: not a plan, not even JSON ({error}); {again}") from None
    _known(document, path, again)
    said = document.pop("sha256", None)
    try:
        same = said == digest(document)
        plan = msgspec.convert(document, Plan, strict=True)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise PlanFileError(f"{path}: not as `hostaudit plan` writes it: {error}; {again}") from None
    if not same:
        raise PlanFileError(
            f"{path}: changed since it was made (its sha256 is another one). A plan is executed as it was reviewed: "
            "for fewer changes make a new one with --only or --limit"
        )
    return plan


def _known(document: Any, path: Path, again: str) -> None:
    """Raise PlanFileError for a document that is something else."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == PLAN_SCHEMA:
        return
    name = str(schema)[:60] if schema else "no schema"
    kinds = {"hostaudit.run/": "the result of `hostaudit run`", "hostaudit.answers/": "answers kept with --save"}
    kind = next((text for start, text in kinds.items() if name.startswith(start)), "")
    if kind:
        hint = " --from FILE" if "answers" in name else ""
        raise PlanFileError(f"{path}: is {kind}, not a plan; make one with `hostaudit plan{hint} -o PLAN`")
    if name.startswith("hostaudit.plan/"):
        raise PlanFileError(f"{path}: has schema {name!r}, this version reads {PLAN_SCHEMA!r}; {again}")
    raise PlanFileError(f"{path}: not a plan ({name!r}); {again}")
