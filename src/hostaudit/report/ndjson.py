"""The run as lines of JSON, one object each, schema ``hostaudit.lines/1``: for log shippers and ``jq`` on large fleets.

First the run, then every host, every listed finding, and every waived one. Each line stands for itself: ``type`` says
what it is, ``run`` which run it is of. A finding's keys are those of the JSON document; ``belongs_to`` names the check
of its cause, where there is one.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from hostaudit.causes import key
from hostaudit.report import Style, listed
from hostaudit.report.json import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.model import Run
    from hostaudit.report.page.context import Context

LINES_SCHEMA = "hostaudit.lines/1"


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the lines."""
    del context
    for kind, body in _objects(run, style):
        head = {"schema": LINES_SCHEMA, "type": kind, "run": run.id}
        out.write(json.dumps({**head, **body}, ensure_ascii=False, separators=(",", ":")) + "\n")


def _objects(run: Run, style: Style) -> Iterator[tuple[str, dict[str, Any]]]:
    times = {"started": run.started, "finished": run.finished, "version": run.version}
    yield "run", {**times, "counts": run.counts, "notices": list(run.notices)}
    for host in run.hosts:
        yield "host", asdict(host)
    above = {key(symptom): cause.finding.check for cause in run.causes for symptom in cause.symptoms}
    for one in listed(run, style):
        cause = above.get(key(one))
        yield "finding", {**finding(one), **({"belongs_to": cause} if cause else {})}
    for waived in run.waived:
        waiver = {"reason": waived.reason, "expires": waived.expires, "place": waived.place}
        yield "waived", {**finding(waived.finding), "waiver": waiver}
