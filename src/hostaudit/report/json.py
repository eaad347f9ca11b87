"""The run as one JSON document, schema ``hostaudit.run/1``: stable keys in a stable order, so that two runs diff."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from hostaudit.report import Style, listed

if TYPE_CHECKING:
    from hostaudit.model import Finding, Run


def render(run: Run, out: TextIO, style: Style) -> None:
    """Write the document, indented, with a final newline."""
    json.dump(document(run, style), out, indent=1, ensure_ascii=False)
    out.write("\n")


def document(run: Run, style: Style) -> dict[str, Any]:
    """Return the run as builtin types, in the order of the documentation."""
    return {
        "schema": run.schema,
        "id": run.id,
        "started": run.started,
        "finished": run.finished,
        "version": run.version,
        "hosts": [asdict(host) for host in run.hosts],
        "findings": [finding(one) for one in listed(run, style)],
        "counts": run.counts,
    }


def finding(one: Finding) -> dict[str, Any]:
    """Return one finding: ``host``, or ``hosts`` where it is about several together."""
    where: dict[str, Any] = {"hosts": list(one.hosts)} if one.hosts else {"host": one.host}
    if one.netns:
        where["netns"] = one.netns
    return {
        "check": one.check,
        **where,
        "status": one.status.value,
        "grade": one.grade.value if one.grade else None,
        "severity": one.severity.value,
        "summary": one.summary,
        "evidence": one.evidence,
        "reproduce": one.reproduce,
        "disproof": one.disproof,
        "owner": one.owner,
        "remedy": {"role": one.remedy.role, "vars": one.remedy.vars} if one.remedy else None,
        "advice": one.advice,
    }
