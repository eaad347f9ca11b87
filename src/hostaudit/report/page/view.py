"""What the page shows, as plain values: the template has no logic but loops. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit.model import Grade, Status
from hostaudit.report import Style, _map, listed
from hostaudit.report._evidence import shown as in_words
from hostaudit.report._text import NAME, count, line
from hostaudit.report.page import beside
from hostaudit.report.page.matrix import Matrix, matrix
from hostaudit.report.table import grouped, related, where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.model import Alternative, Finding, Run
    from hostaudit.report.page.context import Context

MOST_ROWS = 24
"""Rows of evidence, and values in a cell, that are shown; JSON has them all."""


@dataclass(frozen=True)
class Table:
    """Records of the evidence."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    more: int = 0


@dataclass(frozen=True)
class Block:
    """A cause, or a symptom of one: findings of one check that are one thing."""

    anchor: str
    group: list[Finding]
    hosts: list[str]
    others: list[tuple[str, str]]
    """Host and summary, where it is another than the first's."""
    tables: list[Table]
    facts: list[tuple[str, str]]
    advice: list[list[tuple[bool, str]]]
    """Lines, each as pieces: is it code, and the text."""
    disproof: list[list[tuple[bool, str]]]
    remedy: str
    alternatives: tuple[Alternative, ...]
    why: str = ""
    symptoms: list[Block] = field(default_factory=list)

    @property
    def first(self) -> Finding:
        """The finding that is shown for all."""
        return self.group[0]

    @property
    def active(self) -> bool:
        """Packets are being lost."""
        return self.first.grade is Grade.ACTIVE


@dataclass(frozen=True)
class Note:
    """Findings that need no block of their own."""

    check: str
    hosts: list[str]
    text: str


def view(run: Run, style: Style, context: Context) -> dict[str, Any]:
    """Return everything that the template names."""
    shown = listed(run, style)
    blocks = _blocks(run, [f for f in shown if f.status is Status.FAIL])
    notes = {status: _notes(f for f in shown if f.status is status) for status in Status}
    anchors = {id(f): b.anchor for top in blocks for b in (top, *top.symptoms) for f in b.group}
    fleet: Matrix = matrix(run, shown, anchors)
    silent = [h for h in run.hosts if h.status == "unreachable"]
    return {
        "run": run,
        "title": _title(blocks, len(silent)),
        "lead": _lead(blocks),
        "level": "active" if any(b.active for b in blocks) else "risk" if blocks else "unknown" if silent else "clean",
        "numbers": _numbers(run, len(silent)),
        "fleet": fleet,
        "blocks": blocks,
        "unknown": notes[Status.UNKNOWN],
        "passed": notes[Status.PASS],
        "absent": notes[Status.NA],
        "silent": silent,
        "partial": _partial(run),
        "waived": [(w, where([w.finding])) for w in run.waived],
        "guests": [(g.hypervisor, _map.line(g)) for g in run.guests if g.host or g.vips],
        **beside.view(context),
    }


def _blocks(run: Run, failed: list[Finding]) -> list[Block]:
    whys = {id(cause.finding): cause.why for cause in run.causes}
    blocks = []
    for n, (group, symptoms) in enumerate(related(failed, run.causes), 1):
        below = [_block(f"cause-{n}-{m}", one) for m, one in enumerate(grouped(symptoms), 1)]
        why = next((whys[id(one)] for one in group if id(one) in whys), "")
        blocks.append(_block(f"cause-{n}", group, why, below))
    return blocks


def _block(anchor: str, group: list[Finding], why: str = "", symptoms: list[Block] | None = None) -> Block:
    first = group[0]
    plain = {k: v for k, v in first.evidence.items() if not _records(v) and v not in (None, "", [], (), {})}
    remedy = first.remedy
    return Block(
        anchor,
        group,
        where(group),
        [(", ".join(where([f])), f.summary) for f in group[1:] if f.summary != first.summary][:MOST_ROWS],
        [_table(key, value) for key, value in first.evidence.items() if _records(value)],
        [(_words(key), _value(value)) for key, value in plain.items()],
        [_pieces(row) for row in first.advice.splitlines()],
        [_pieces(row) for row in first.disproof.splitlines()],
        ", ".join(f"{k}={in_words(v)}" for k, v in remedy.vars.items()) if remedy else "",
        first.alternatives,
        why,
        symptoms or [],
    )


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _table(key: str, records: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(name for record in records for name in record))
    rows = [[_value(record[name]) if name in record else "" for name in columns] for record in records[:MOST_ROWS]]
    return Table(_words(key), [_words(name) for name in columns], rows, max(0, len(records) - MOST_ROWS))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        more = f" and {len(value) - MOST_ROWS} more" if len(value) > MOST_ROWS else ""
        return ", ".join(in_words(v) for v in value[:MOST_ROWS]) + more
    return in_words(value)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Return a line cut at its backticks: what stands between two of them is code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return [(False, text)]
    return [(bool(n % 2), piece) for n, piece in enumerate(pieces) if piece]


def _notes(findings: Iterable[Finding]) -> list[Note]:
    """Return findings with the same text together: three checks that need the same surface are one line."""
    same: dict[str, list[Finding]] = {}
    for one in findings:
        same.setdefault(one.summary, []).append(one)
    return [
        Note(", ".join(dict.fromkeys(f.check for f in found)), where(found), summary) for summary, found in same.items()
    ]


def _partial(run: Run) -> list[tuple[list[str], str]]:
    same: dict[str, list[str]] = {}
    for host in run.hosts:
        if host.status == "partial":
            same.setdefault(host.reason, []).append(host.name)
    return [(names, reason) for reason, names in same.items()]


def _title(blocks: list[Block], silent: int) -> str:
    active = sum(b.active for b in blocks)
    risky = len(blocks) - active
    if active:
        title = f"{count(active, 'cause')} {'is' if active == 1 else 'are'} losing packets now"
    elif risky:
        title = f"Nothing was seen losing packets; {count(risky, 'cause')} could"
    elif silent:
        return f"Nothing found, but {count(silent, 'host')} could not be audited"
    else:
        return "Nothing that loses packets was found"
    return title


def _lead(blocks: list[Block]) -> str:
    if not blocks:
        return ""
    first = blocks[0]
    hosts = f"{line(first.hosts[0], NAME)}" + (f" and {len(first.hosts) - 1} more" if len(first.hosts) > 1 else "")
    return f"{hosts}: {line(first.first.summary)}"


def _numbers(run: Run, silent: int) -> list[tuple[int, str, str]]:
    n = run.counts
    given = [
        (n["active"], "active", "active"),
        (n["risk"], "at risk", "risk"),
        (n["unknown"], "not known", "unknown"),
        (silent, "not audited", "silent"),
        (n.get("waived", 0), "waived", "waived"),
        (n["pass"], "passed", "clean"),
        (len(run.hosts), "hosts", "plain"),
    ]
    return [(number, label, kind) for number, label, kind in given if number or kind not in {"waived", "silent"}]
