"""The run as JUnit XML: a suite per check, a test per host, with names that stay the same from run to run.

What consumers make of it: a finding is a ``failure``. What could not be told, does not apply or is waived is
``skipped``, with the reason: it neither passes nor stops a pipeline, as it does not for the exit code. A host that did
not answer, and a check that failed itself, are an ``error``. All checks are there, whatever ``--show`` says, since the
history of a test must not have gaps. Attributes and order are those of the schemas of Jenkins and of Ant, except that
Ant's has no ``skipped``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, TextIO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from hostaudit.evaluate import BUG
from hostaudit.model import Status
from hostaudit.report._plain import lines, places
from hostaudit.report._text import NAME, clean, line

if TYPE_CHECKING:
    from hostaudit.model import Finding, Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context

Outcome = tuple[str, str, str, str]
"""Element, type, message, text."""
REACH = "host-answers"
"""The suite that has a test for each host: it could be audited."""
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the document."""
    del context
    root = Element("testsuites")
    for number, (check, tests) in enumerate(_suites(run, style).items()):
        _suite(root, run, number, check, tests)
    indent(root, " ")
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n")


def _suites(run: Run, style: Style) -> dict[str, dict[str, list[Outcome]]]:
    """Return check -> test -> its outcomes; several findings of one check on one host are one test."""
    suites: dict[str, dict[str, list[Outcome]]] = {}
    reach = suites.setdefault(REACH, {})
    for host in run.hosts:
        bad = host.status == "unreachable"
        reach[_name(host.name)] = [("error", "unreachable", line(host.reason), "")] if bad else []
    given = [(one, _outcome(one, style)) for one in run.findings]
    for waived in run.waived:
        said = f"waived until {waived.expires}: {line(waived.reason)} ({line(waived.finding.summary)})"
        given.append((waived.finding, ("skipped", "", "", said)))
    for one, outcome in given:
        tests = suites.setdefault(one.check, {})
        for place in places(one):
            tests.setdefault(_name(place), []).extend([outcome] if outcome else [])
    return {check: dict(sorted(tests.items())) for check, tests in sorted(suites.items())}


def _outcome(one: Finding, style: Style) -> Outcome | None:
    """Return what a finding is for a test; ``None``: it passes."""
    summary = line(one.summary)
    if one.status is Status.PASS:
        return None
    if BUG in one.evidence:
        return "error", "bug in hostaudit", summary, "\n".join(lines(one, style))
    if one.status is Status.FAIL:
        kind = f"{one.severity}, {one.grade}" if one.grade else str(one.severity)
        return "failure", kind, summary, "\n".join(lines(one, style))
    return "skipped", "", "", f"{'not applicable' if one.status is Status.NA else 'not known'}: {summary}"


def _suite(root: Element, run: Run, number: int, check: str, tests: dict[str, list[Outcome]]) -> None:
    worst = [
        next((k for k in ("error", "failure", "skipped") if any(o[0] == k for o in t)), "") for t in tests.values()
    ]
    numbers = {
        name: str(worst.count(kind))
        for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    attributes = {
        "name": check,
        "package": "hostaudit",
        "id": str(number),
        "tests": str(len(tests)),
        **numbers,
        "time": f"{_seconds(run):.3f}" if check == REACH else "0.000",
        "timestamp": run.started.removesuffix("Z"),
        "hostname": "localhost",
    }
    suite = SubElement(root, "testsuite", attributes)
    properties = SubElement(suite, "properties")
    SubElement(properties, "property", name="hostaudit.run", value=_legal(run.id))
    SubElement(properties, "property", name="hostaudit.version", value=run.version)
    times = {_name(h.name): h.collect_seconds for h in run.hosts} if check == REACH else {}
    for (name, outcomes), kind in zip(tests.items(), worst, strict=True):
        case = SubElement(
            suite, "testcase", name=name, classname=f"hostaudit.{check}", time=f"{times.get(name, 0):.3f}"
        )
        # one element a test, the worst: Ant's schema takes no more, and readers that count elements would miscount
        same = [o for o in outcomes if o[0] == kind]
        if not same:
            continue
        said = (
            {}
            if kind == "skipped"
            else {"type": same[0][1], "message": _legal("; ".join(dict.fromkeys(o[2] for o in same)))}
        )
        SubElement(case, kind, said).text = _legal("\n\n".join(o[3] for o in same))
    SubElement(suite, "system-out")
    SubElement(suite, "system-err")


def _name(host: str) -> str:
    return _legal(line(host, NAME)) or "(no name)"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", clean(text, 100_000))


def _seconds(run: Run) -> float:
    try:
        return max(0.0, (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds())
    except ValueError:
        return 0.0
