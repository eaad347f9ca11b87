"""The JSON document ``hostaudit.run/1`` as types: it is read with them, and docs/schema is made from them.

``Document`` is what ``json.py`` writes, key by key. ``run_of`` makes a run of it again, so that a stored document can
be shown in every other format; what it does not list (passes, as a rule) is counted all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hostaudit.causes import key
from hostaudit.errors import UsageError
from hostaudit.model import (
    RUN_SCHEMA,
    Alternative,
    Cause,
    Finding,
    Grade,
    HostReport,
    MappedGuest,
    Remedy,
    Run,
    Severity,
    Status,
    Waived,
)
from hostaudit.report._text import clean
from hostaudit.report.page.context import CONTEXT_SCHEMA, Context

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 512 * 2**20
"""Bytes of a document that is read."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What tells a finding of a run from the others: ``host``, or ``hosts`` where it is about several together."""

    check: str
    host: str = ""
    hosts: tuple[str, ...] = ()
    netns: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown(Named):
    """A finding."""

    status: Status
    grade: Grade | None
    severity: Severity
    summary: str
    evidence: dict[str, Any]
    reproduce: str
    disproof: str
    owner: str
    remedy: Remedy | None
    advice: str
    alternatives: tuple[Alternative, ...] = ()
    cause: str = ""
    """Findings of one check with the same one are one thing; empty: the summary says."""


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """Why a finding fails nothing, and until when."""

    reason: str
    expires: str
    place: str


@dataclass(frozen=True, kw_only=True)
class ShownWaived(Shown):
    """A finding that the policy waives."""

    waiver: Waiver


@dataclass(frozen=True, kw_only=True)
class ShownCause(Named):
    """A finding that explains others of the same host."""

    why: str
    symptoms: tuple[Named, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One run. Further keys may be added."""

    schema: Literal["hostaudit.run/1"]
    id: str
    started: str
    finished: str
    version: str
    hosts: tuple[HostReport, ...]
    findings: tuple[Shown, ...]
    counts: dict[str, int]
    guests: tuple[MappedGuest, ...] = ()
    causes: tuple[ShownCause, ...] = ()
    waived: tuple[ShownWaived, ...] = ()
    notices: tuple[str, ...] = field(default=())


def run_of(document: Document) -> Run:
    """Return the run that the document shows."""
    findings = tuple(map(_finding, document.findings))
    by_key = {key(one): one for one in findings}
    causes = [
        Cause(by_key[top], tuple(by_key[below] for s in one.symptoms if (below := _key(s)) in by_key), one.why)
        for one in document.causes
        if (top := _key(one)) in by_key
    ]
    none = {str(name): 0 for name in (*Status, *Grade, "waived") if name not in document.counts}
    return Run(
        document.id,
        document.started,
        document.finished,
        document.version,
        document.hosts,
        findings,
        {**document.counts, **none},
        document.guests,
        tuple(causes),
        tuple(Waived(_finding(w), w.waiver.reason, w.waiver.expires, w.waiver.place) for w in document.waived),
        document.notices,
    )


def _finding(one: Shown) -> Finding:
    kept = ("grade", "severity", "evidence", "reproduce", "disproof", "owner", "remedy", "advice", "alternatives")
    values: dict[str, Any] = {name: getattr(one, name) for name in (*kept, "cause", "check", "host", "hosts", "netns")}
    return Finding(one.status, one.summary, **values)


def _key(one: Named) -> tuple[str, str, tuple[str, ...], str]:
    return (one.check, one.host, one.hosts, one.netns)


def load(path: Path) -> Run:
    """Read a run that was written with ``--format json``. Raises UsageError, saying where it does not fit."""
    document = _read(path, Document, RUN_SCHEMA, "`hostaudit run --format json`")
    return run_of(document)


def load_context(path: Path) -> Context:
    """Read what stands beside a run. Raises UsageError, saying where it does not fit."""
    found: Context = _read(path, Context, CONTEXT_SCHEMA, "docs/reports.md")
    return found


def _read(path: Path, kind: Any, schema: str, how: str) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST >> 20} MiB, so it is no {schema}")
    try:
        given = _cleaned(msgspec.json.decode(data, type=dict[str, Any]))
        said = given.get("schema")
        if said != schema:
            raise UsageError(f"{path}: has schema {str(said)[:60]!r}, {schema!r} is wanted; {how} makes it")
        return msgspec.convert(given, kind, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not as {how} makes it: {error}") from None


def _cleaned(value: Any) -> Any:
    """Return the value with every text fit for a terminal: the file may be from anywhere, and a table prints it."""
    if isinstance(value, str):
        return clean(value, LARGEST)
    if isinstance(value, dict):
        return {clean(name, LARGEST): _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list) else value
