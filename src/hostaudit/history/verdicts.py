"""The verdicts of a run as they are stored: failures and unknowns whole, of the others only which they are. No I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from hostaudit.history.pack import deflate, inflate
from hostaudit.model import Finding, Run, Status

WHOLE = frozenset({Status.FAIL, Status.UNKNOWN})


def encode(run: Run) -> bytes:
    """Return a run's document, compressed."""
    whole = [one for one in run.findings if one.status in WHOLE]
    place = {id(one): number for number, one in enumerate(whole)}
    document: dict[str, Any] = msgspec.to_builtins(replace(run, findings=tuple(whole), causes=()))
    causes = [
        [place[id(cause.finding)], [place[id(one)] for one in cause.symptoms], cause.why]
        for cause in run.causes
        if all(id(one) in place for one in (cause.finding, *cause.symptoms))
    ]
    others: dict[str, dict[str, list[Any]]] = {}
    for one in run.findings:
        if one.status not in WHOLE:
            where: Any = list(one.hosts) or ({"host": one.host, "netns": one.netns} if one.netns else one.host)
            others.setdefault(one.check, {}).setdefault(one.status.value, []).append(where)
    return deflate(msgspec.json.encode({"run": document, "causes": causes, "others": others}))


def decode(data: bytes) -> Run:
    """Return the run; its passes, and what did not apply, have neither summary nor evidence.

    Raises msgspec.ValidationError where it was stored by a version with other findings.
    """
    from hostaudit.model import Cause

    stored = msgspec.json.decode(inflate(data))
    run = msgspec.convert(stored["run"], Run)
    found = run.findings
    causes = tuple(Cause(found[n], tuple(found[m] for m in symptoms), why) for n, symptoms, why in stored["causes"])
    others = [
        _other(check, Status(status), where)
        for check, by_status in stored["others"].items()
        for status, places in by_status.items()
        for where in places
    ]
    return replace(run, findings=(*found, *others), causes=causes)


def _other(check: str, status: Status, where: Any) -> Finding:
    if isinstance(where, dict):
        return Finding(status, "", check=check, host=where["host"], netns=where["netns"])
    if isinstance(where, list):
        return Finding(status, "", check=check, hosts=tuple(where))
    return Finding(status, "", check=check, host=where)
