"""The run as one JSON document, schema ``hostaudit.run/1``: stable keys in a stable order, so that two runs diff."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from hostaudit.report import Style, listed

if TYPE_CHECKING:
    from hostaudit.model import Finding, Run
    from hostaudit.report.page.context import Context


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the document, indented, with a final newline."""
    del context  # it has a document of its own
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
        "guests": [asdict(guest) for guest in run.guests],
        "causes": [
            {**_name(cause.finding), "why": cause.why, "symptoms": [_name(one) for one in cause.symptoms]}
            for cause in run.causes
        ],
        "waived": [
            {**finding(one.finding), "waiver": {"reason": one.reason, "expires": one.expires, "place": one.place}}
            for one in run.waived
        ],
        "notices": list(run.notices),
    }


def finding(one: Finding) -> dict[str, Any]:
    """Return one finding: ``host``, or ``hosts`` where it is about several together."""
    return {
        **_name(one),
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
        "alternatives": [asdict(way) for way in one.alternatives],
        "cause": one.cause,
    }


def _name(one: Finding) -> dict[str, Any]:
    """Return what tells a finding of a run from the others."""
    where: dict[str, Any] = {"hosts": list(one.hosts)} if one.hosts else {"host": one.host}
    return {"check": one.check, **where, **({"netns": one.netns} if one.netns else {})}
