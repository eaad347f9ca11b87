"""The run as SARIF 2.1.0 (OASIS): a rule per check with its page, a result per finding, hosts as logical locations.

What fails has kind ``fail`` and a level by its severity. What could not be told is ``open``, which SARIF keeps for it;
level ``none``, as for all kinds but ``fail``. Waived findings are there, suppressed, with the reason. The fingerprint
``hostaudit/v1`` is over check, hosts and namespace, so a finding whose numbers change stays the same finding.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TextIO

from hostaudit.checks import all_checks
from hostaudit.checks._page import page, sections
from hostaudit.model import Severity, Status
from hostaudit.report import Style, listed
from hostaudit.report._plain import lines
from hostaudit.report._text import clean, line
from hostaudit.report.json import finding as as_json

if TYPE_CHECKING:
    from hostaudit.checks import Check
    from hostaudit.model import Finding, Run, Waived
    from hostaudit.report.page.context import Context

VERSION = "2.1.0"
LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
KINDS = {Status.FAIL: "fail", Status.PASS: "pass", Status.UNKNOWN: "open", Status.NA: "notApplicable"}


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the log with its one run."""
    del context
    json.dump({"version": VERSION, "runs": [_run(run, style)]}, out, indent=1, ensure_ascii=False)
    out.write("\n")


def _run(run: Run, style: Style) -> dict[str, Any]:
    shown = listed(run, style)
    named = sorted({f.check for f in shown} | {w.finding.check for w in run.waived} | set(all_checks()))
    index = {name: number for number, name in enumerate(named)}
    results = [_result(one, index, style) for one in shown]
    results += [{**_result(one.finding, index, style), "suppressions": [_suppression(one)]} for one in run.waived]
    return {
        "tool": {
            "driver": {
                "name": "hostaudit",
                "version": run.version,
                "semanticVersion": run.version,
                "rules": [_rule(name, all_checks().get(name)) for name in named],
            }
        },
        "automationDetails": {"id": f"hostaudit/{line(run.id)}"},
        "invocations": [_invocation(run)],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"counts": run.counts, "hosts": len(run.hosts)},
    }


def _rule(name: str, check: Check | None) -> dict[str, Any]:
    """Return a rule from the check's page; a check of another version has its name alone."""
    if check is None:
        return {"id": name}
    title = check.title.replace("``", "`")
    text = page(check)
    why = " ".join(sections(check).get("Why it matters", "").replace("``", "`").split())
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": title},
        "fullDescription": {"text": why or title},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
        "properties": {"tags": ["network", "linux"], "severity": check.severity.value},
    }


def _result(one: Finding, index: dict[str, int], style: Style) -> dict[str, Any]:
    failed = one.status is Status.FAIL
    text = "\n".join([line(one.summary), *lines(one, style)]) if failed else line(one.summary)
    known = as_json(one)
    kept = ("grade", "severity", "evidence", "owner", "remedy", "reproduce", "disproof")
    return {
        "ruleId": one.check,
        "ruleIndex": index[one.check],
        "kind": KINDS[one.status],
        "level": LEVELS[one.severity] if failed else "none",
        "message": {"text": clean(text, 100_000)},
        "locations": [{"logicalLocations": [_place(host, one.netns)]} for host in one.hosts or (one.host,)],
        "partialFingerprints": {"hostaudit/v1": fingerprint(one)},
        "properties": {name: known[name] for name in kept if known[name] not in (None, "", {})},
    }


def fingerprint(one: Finding) -> str:
    """Return what is the same for the same finding in the next run, in hex."""
    place = json.dumps([one.check, sorted(one.hosts or (one.host,)), one.netns])
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def _place(host: str, netns: str) -> dict[str, str]:
    full = f"{host}/{netns}" if netns else host
    return {"name": netns or host, "fullyQualifiedName": full, "kind": "network namespace" if netns else "host"}


def _suppression(one: Waived) -> dict[str, Any]:
    said = f"{line(one.reason)} (until {one.expires}, {line(one.place)})"
    return {"kind": "external", "status": "accepted", "justification": said}


def _invocation(run: Run) -> dict[str, Any]:
    """Return how the run went: hosts that did not answer, or not wholly, are notifications."""
    notes = [
        {
            "level": "error" if host.status == "unreachable" else "warning",
            "message": {"text": line(f"{host.name} {_how(host.status)}: {host.reason}")},
        }
        for host in run.hosts
        if host.status != "ok"
    ]
    return {
        "executionSuccessful": not any(host.status == "unreachable" for host in run.hosts),
        "startTimeUtc": run.started,
        "endTimeUtc": run.finished,
        "toolExecutionNotifications": notes,
    }


def _how(status: str) -> str:
    return "could not be audited" if status == "unreachable" else "was read in part"
