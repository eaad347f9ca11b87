"""The run as one line for Nagios, Icinga, Checkmk and the like: state, what it is, and performance data.

CRITICAL: packets are being lost (an active finding). WARNING: the configuration allows it (a risk). UNKNOWN: nothing
was found, but a host could not be audited or a check failed itself. The exit code of hostaudit stays its own; the
plug-in in examples/nagios turns the word into 0, 1, 2 or 3. Limits for what is not known are set on the performance
data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from hostaudit.evaluate import BUG
from hostaudit.model import Severity, Status
from hostaudit.report._plain import places
from hostaudit.report._text import NAME, count, line
from hostaudit.report.table import grouped

if TYPE_CHECKING:
    from hostaudit.model import Finding, Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context

MOST = 3
"""Causes, and hosts of each, that the line names."""


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the line."""
    del style, context
    failed = [f for f in run.findings if f.status is Status.FAIL and f.severity is not Severity.INFO]
    silent = sum(h.status == "unreachable" for h in run.hosts)
    bugs = sum(BUG in f.evidence for f in run.findings)
    counts = run.counts
    parts = [_cause(group) for group in grouped(failed)]
    said = parts[:MOST] + ([f"and {len(parts) - MOST} more"] if len(parts) > MOST else [])
    said += [f"{count(silent, 'host')} not audited"] if silent else []
    said += [f"{count(bugs, 'check')} failed itself"] if bugs else []
    said += [f"{counts['unknown']} not known"] if counts["unknown"] else []
    text = "; ".join(said) or f"nothing found on {count(len(run.hosts), 'host')}"
    state = (
        "CRITICAL"
        if counts["active"]
        else "WARNING"
        if failed
        else "UNKNOWN"
        if silent or bugs or not run.hosts
        else "OK"
    )
    data = {"active": counts["active"], "risk": counts["risk"], "unknown": counts["unknown"], "unreachable": silent}
    shown = " ".join(f"{name}={value};;;0" for name, value in data.items())
    # a bar would begin the performance data
    out.write(f"HOSTAUDIT {state} - {text.replace('|', '/')} | {shown} hosts={len(run.hosts)};;;0\n")


def _cause(group: list[Finding]) -> str:
    hosts = list(dict.fromkeys(line(place, NAME) for one in group for place in places(one)))
    more = f" and {len(hosts) - MOST} more" if len(hosts) > MOST else ""
    grade = f"{group[0].grade} " if group[0].grade else ""
    return f"{grade}{group[0].check} on {', '.join(hosts[:MOST])}{more}"
