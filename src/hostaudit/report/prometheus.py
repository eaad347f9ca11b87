"""The run as a file for node_exporter's textfile collector: gauges of this one run, no timestamps.

Written to a name that ends in ``.prom`` the file appears whole or not at all. The collector refuses a file with two
samples of one name and the same labels, so findings that differ in their text only are one sample, whose value counts
them.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from hostaudit.model import Status
from hostaudit.report._text import NAME, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hostaudit.model import Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context

Labels = tuple[tuple[str, str], ...]


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the metrics, each with HELP and TYPE."""
    del style, context
    started, finished = (datetime.fromisoformat(t).timestamp() for t in (run.started, run.finished))
    _gauge(out, "build_info", "The version of hostaudit that made this file.", {(("version", run.version),): 1})
    _gauge(out, "run_timestamp_seconds", "When the run began, in seconds since the epoch.", {(): started})
    _gauge(out, "run_duration_seconds", "How long the run took.", {(): max(0.0, finished - started)})
    statuses = Counter(host.status for host in run.hosts)
    _gauge(
        out,
        "hosts",
        "Hosts of the run by how they answered.",
        {(("status", s),): statuses[s] for s in ("ok", "partial", "unreachable")},
    )
    _gauge(
        out,
        "findings",
        "Answers of all checks on all hosts by status.",
        {(("status", s.value),): run.counts.get(s.value, 0) for s in Status},
    )
    _gauge(out, "waived_findings", "Findings that the policy waives.", {(): run.counts.get("waived", 0)})
    _gauge(
        out,
        "host_audited",
        "Whether the host could be audited.",
        {(("host", _value(h.name)),): h.status != "unreachable" for h in run.hosts},
    )
    _gauge(
        out,
        "host_collect_seconds",
        "How long reading the host took.",
        {(("host", _value(h.name)),): h.collect_seconds for h in run.hosts},
    )
    _gauge(out, "finding", "Findings that failed, by host and check.", _findings(run, Status.FAIL))
    _gauge(out, "not_known", "Checks that could not tell, by host and check.", _findings(run, Status.UNKNOWN))


def _findings(run: Run, status: Status) -> Mapping[Labels, float]:
    found: list[Labels] = []
    for one in run.findings:
        if one.status is not status:
            continue
        failed = (("severity", one.severity.value), ("grade", one.grade.value if one.grade else ""))
        for host in one.hosts or (one.host,):
            place = (("host", _value(host)), ("check", one.check), ("netns", _value(one.netns)))
            found.append(place + (failed if status is Status.FAIL else ()))
    return _each(found)


def _each(labels: Iterable[Labels]) -> dict[Labels, float]:
    return dict(Counter(labels))


def _gauge(out: TextIO, name: str, text: str, samples: Mapping[Labels, float]) -> None:
    """Write one metric; HELP and TYPE stand there where there is no sample, too, so that its name is known."""
    out.write(f"# HELP hostaudit_{name} {text}\n# TYPE hostaudit_{name} gauge\n")
    for labels, value in samples.items():
        inside = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels if v)
        out.write(f"hostaudit_{name}{{{inside}}} {value:.15g}\n" if inside else f"hostaudit_{name} {value:.15g}\n")


def _value(text: str) -> str:
    return line(text, NAME).encode("utf-8", "replace").decode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
