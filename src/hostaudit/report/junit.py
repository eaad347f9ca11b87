"""The run as JUnit XML: a suite per check, a test per host, with names that stay the same from run to run.

What consumers make of it: a finding is a ``failure``. What could not be told, does not apply or is waived is
``skipped``, with the reason: it neither passes nor stops a pipeline, as it does not for the exit code. A host that did
not answer, and a check that failed itself, are an ``error``. All checks are there, whatever ``--show`` says, since the
history of a test must not have gaps. Attributes and order are those of the schemas of Jenkins and of Ant, except that
Ant's has no ``skipped``.

A fleet of ten thousand hosts has half a million tests: the text is written suite by suite, without a tree of it.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO
from xml.sax.saxutils import escape

from hostaudit.evaluate import BUG
from hostaudit.model import Status
from hostaudit.report._plain import lines, places
from hostaudit.report._text import NAME, clean, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hostaudit.model import Finding, Run
    from hostaudit.report import Style
    from hostaudit.report.page.context import Context

Outcome = tuple[str, str, str, str]
"""Element, type, message, text."""
Tests = dict[str, tuple[Outcome, ...]]
"""Test -> its outcomes; several findings of one check on one host are one test."""
REACH = "host-answers"
"""The suite that has a test for each host: it could be audited."""
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_QUOTED = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
"""In attributes, where XML makes blanks of line ends."""


def render(run: Run, out: TextIO, style: Style, context: Context) -> None:
    """Write the document."""
    del context
    name, named = lru_cache(maxsize=None)(_name), lru_cache(maxsize=None)(_named)
    times = {name(h.name): f"{h.collect_seconds:.3f}" for h in run.hosts}
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
    for number, (check, tests) in enumerate(_suites(run, style, name)):
        out.writelines(_head(run, number, check, tests))
        place = _attributes({"classname": f"hostaudit.{check}"})
        for test, outcomes in tests.items():
            time = times.get(test, "0.000") if check == REACH else "0.000"
            out.write(f'  <testcase{named(test)}{place} time="{time}"{_end(outcomes)}\n')
        out.write("  <system-out />\n  <system-err />\n </testsuite>\n")
    out.write("</testsuites>\n")


def _suites(run: Run, style: Style, name: Callable[[str], str]) -> Iterator[tuple[str, Tests]]:
    """Yield each check with its tests, in order."""
    given: dict[str, list[tuple[Finding, Outcome | None]]] = {REACH: []}
    for one in run.findings:
        given.setdefault(one.check, []).append((one, None))
    for waived in run.waived:
        said = f"waived until {waived.expires}: {line(waived.reason)} ({line(waived.finding.summary)})"
        given.setdefault(waived.finding.check, []).append((waived.finding, ("skipped", "", "", said)))
    for check in sorted(given):
        tests: Tests = {}
        for host in run.hosts if check == REACH else ():
            bad = host.status == "unreachable"
            tests[name(host.name)] = (("error", "unreachable", line(host.reason), ""),) if bad else ()
        for one, outcome in given[check]:
            said_ = outcome or _outcome(one, style)
            for place in places(one):
                tests[name(place)] = (*tests.get(name(place), ()), *((said_,) if said_ else ()))
        yield check, dict(sorted(tests.items()))


def _outcome(one: Finding, style: Style) -> Outcome | None:
    """Return what a finding is for a test; ``None``: it passes."""
    if one.status is Status.PASS:
        return None
    summary = line(one.summary)
    if BUG in one.evidence:
        return "error", "bug in hostaudit", summary, "\n".join(lines(one, style))
    if one.status is Status.FAIL:
        kind = f"{one.severity}, {one.grade}" if one.grade else str(one.severity)
        return "failure", kind, summary, "\n".join(lines(one, style))
    return "skipped", "", "", f"{'not applicable' if one.status is Status.NA else 'not known'}: {summary}"


def _head(run: Run, number: int, check: str, tests: Tests) -> Iterator[str]:
    """Yield the lines of a suite above its tests."""
    worst = Counter(_worst(outcomes) for outcomes in tests.values())
    attributes = {
        "name": check,
        "package": "hostaudit",
        "id": str(number),
        "tests": str(len(tests)),
        "failures": str(worst["failure"]),
        "errors": str(worst["error"]),
        "skipped": str(worst["skipped"]),
        "time": f"{_seconds(run):.3f}" if check == REACH else "0.000",
        "timestamp": run.started.removesuffix("Z"),
        "hostname": "localhost",
    }
    yield f" <testsuite{_attributes(attributes)}>\n  <properties>\n"
    for name, value in (("hostaudit.run", run.id), ("hostaudit.version", run.version)):
        yield f"   <property{_attributes({'name': name, 'value': value})} />\n"
    yield "  </properties>\n"


def _worst(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    return next(kind for kind in ("error", "failure", "skipped") if any(one[0] == kind for one in outcomes))


def _end(outcomes: Sequence[Outcome]) -> str:
    """Return what closes a test: one element, the worst. Ant's schema takes no more, and readers count elements."""
    if not outcomes:
        return " />"
    kind = _worst(outcomes)
    same = [one for one in outcomes if one[0] == kind]
    message = "; ".join(dict.fromkeys(one[2] for one in same))
    said = "" if kind == "skipped" else _attributes({"type": same[0][1], "message": message})
    text = escape(_legal("\n\n".join(one[3] for one in same)))
    element = f"<{kind}{said}>{text}</{kind}>" if text else f"<{kind}{said} />"
    return f">\n   {element}\n  </testcase>"


def _named(test: str) -> str:
    return _attributes({"name": test})


def _attributes(given: Mapping[str, str]) -> str:
    return "".join(f' {name}="{escape(_legal(value), _QUOTED)}"' for name, value in given.items())


def _name(host: str) -> str:
    return _legal(line(host, NAME)) or "(no name)"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", clean(text, 100_000))


def _seconds(run: Run) -> float:
    try:
        return max(0.0, (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds())
    except ValueError:
        return 0.0
