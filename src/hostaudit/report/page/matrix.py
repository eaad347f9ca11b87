"""The fleet at a glance: hosts by checks, a cell for what a check says of a host. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.model import Grade, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.model import Finding, Run

MOST_ROWS = 400
"""Rows shown; the causes below name all hosts."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one check says of one host."""

    kind: str = ""
    """``active``, ``risk``, ``unknown``, ``waived``; empty: nothing to say."""
    letter: str = ""
    text: str = ""
    """The same in words."""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of hosts that something is to be said of; the others are named."""

    checks: list[str]
    rows: list[tuple[list[str], str, list[Cell]]]
    """Hosts that are alike, why they could not be audited (empty: they were), a cell for each check; worst first."""
    quiet: list[str]
    more: int = 0


def matrix(run: Run, shown: Sequence[Finding], anchors: Mapping[int, str]) -> Matrix:
    """Return the table; ``anchors`` says where a finding (by ``id``) is told of."""
    cells: dict[tuple[str, str], Cell] = {}
    said = [f for f in shown if f.status in {Status.FAIL, Status.UNKNOWN}]
    checks = list(dict.fromkeys(f.check for f in sorted(said, key=lambda f: f.status is Status.UNKNOWN)))
    checks += [c for c in dict.fromkeys(w.finding.check for w in run.waived) if c not in checks]
    for one in said:
        for host in one.hosts or (one.host,):
            before = cells.get((host, one.check))
            if before is None or _rank(before) < _rank(cell := _cell(one, anchors)):
                cells[host, one.check] = cell if before else _cell(one, anchors)
    for waived in run.waived:
        for host in waived.finding.hosts or (waived.finding.host,):
            cells.setdefault((host, waived.finding.check), Cell("waived", "w", "waived", "waived"))
    silent = {h.name: h.reason for h in run.hosts if h.status == "unreachable"}
    same: dict[tuple[str, tuple[Cell, ...]], list[str]] = {}
    quiet = []
    for report in run.hosts:
        row = tuple(cells.get((report.name, check), Cell()) for check in checks)
        if report.name in silent or any(cell.kind for cell in row):
            same.setdefault((silent.get(report.name, ""), row), []).append(report.name)
        else:
            quiet.append(report.name)
    rows = [(names, reason, list(row)) for (reason, row), names in same.items()]
    rows.sort(key=_worst, reverse=True)  # stable: by name where equal
    return Matrix(checks, rows[:MOST_ROWS], quiet, sum(len(names) for names, _, _ in rows[MOST_ROWS:]))


def _cell(one: Finding, anchors: Mapping[int, str]) -> Cell:
    if one.status is Status.UNKNOWN:
        return Cell("unknown", "?", "not known", "not-known")
    kind = "active" if one.grade is Grade.ACTIVE else "risk"
    where = anchors.get(id(one), "causes")
    return Cell(
        kind, one.severity.value[0].upper(), f"{'active' if kind == 'active' else 'at risk'}, {one.severity}", where
    )


def _rank(cell: Cell) -> tuple[int, int]:
    kinds = ["", "waived", "unknown", "risk", "active"]
    return kinds.index(cell.kind), "ILMHC".find(cell.letter)


def _worst(row: tuple[list[str], str, list[Cell]]) -> tuple[tuple[int, int], int]:
    """Return how bad a row is: its worst cell, then its hosts. Who did not answer stands before what is not known."""
    names, silence, cells = row
    return (max(((2, 9) if silence else (0, 0)), *map(_rank, cells)) if cells else (2, 9), len(names))
