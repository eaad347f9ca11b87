"""One file per check; the file's name is the check's id.

A check is a pure function of one host's snapshot (or of a cohort of them) and the policy. Its module docstring has
fixed headings and *is* its documentation page (``hostaudit explain``, docs/checks). ``reads`` names the surfaces it
needs: where one of them was not read, ``evaluate`` answers ``unknown`` with the agent's reason and the check is not
called at all, so no check handles missing surfaces. A part of a surface that was not read
(``view.unread("firewall.")``) is the check's own business.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from hostaudit.model import Alternative, Finding, Grade, Host, Remedy, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.policy import Number, Policy
    from hostaudit_agent.snapshot import Snapshot, Unread

HEADINGS = (
    "What it reads",
    "Why it matters",
    "Active when",
    "How it is remedied",
    "Fix safety",
    "References",
)


@dataclass(frozen=True)
class View:
    """What a check sees: one host (or one network namespace of it), and the rest of its cohort."""

    host: Host
    snapshot: Snapshot
    policy: Policy
    check: Check
    peers: tuple[View, ...] = ()
    """The other hosts of the cohort that answered (first namespace only); empty inside a peer."""
    netns: str = ""

    def threshold(self, name: str) -> Number:
        """Return the threshold: the policy's, or the check's default."""
        return self.policy.threshold(self.check.id, name, self.check.thresholds[name])

    def unread(self, prefix: str) -> list[Unread]:
        """Return what could not be read in this namespace, of surfaces or parts that begin with ``prefix``."""
        return [u for u in self.snapshot.unread if u.surface.startswith(prefix) and u.netns == self.netns]

    def fail(
        self,
        grade: Grade,
        summary: str,
        *,
        evidence: dict[str, Any],
        reproduce: str,
        disproof: str,
        advice: str,
        severity: Severity | None = None,
        owner: str = "",
        remedy: Remedy | None = None,
        cause: str = "",
        hosts: tuple[str, ...] = (),
        alternatives: tuple[Alternative, ...] = (),
    ) -> Finding:
        """Return a failure of this host, or of ``hosts``. Without ``severity`` it takes the check's."""
        return Finding(
            Status.FAIL,
            summary,
            grade=grade,
            severity=severity or self.check.severity,
            evidence=evidence,
            reproduce=reproduce,
            disproof=disproof,
            owner=owner,
            remedy=remedy,
            advice=advice,
            alternatives=alternatives,
            cause=cause or summary,
            check=self.check.id,
            host="" if hosts else self.host.name,
            hosts=hosts,
            netns=self.netns,
        )


@dataclass(frozen=True)
class Check:
    """One check with what its decorator said."""

    id: str
    title: str
    doc: str
    reads: tuple[str, ...]
    severity: Severity
    thresholds: Mapping[str, Number] = field(default_factory=dict)
    host: Callable[[View], Finding] | None = None
    cohort: Callable[[Sequence[View]], Sequence[Finding]] | None = None


_registry: dict[str, Check] = {}


def _register(
    function: Callable[..., Any],
    kind: str,
    reads: tuple[str, ...],
    severity: Severity,
    thresholds: Mapping[str, Number] | None,
) -> None:
    module = importlib.import_module(function.__module__)
    doc = (module.__doc__ or "").strip()
    name = function.__module__.rpartition(".")[2].replace("_", "-")
    call: dict[str, Any] = {kind: function}
    _registry[name] = Check(name, doc.partition("\n")[0], doc, reads, severity, thresholds or {}, **call)


def check(
    *, reads: tuple[str, ...], severity: Severity, thresholds: Mapping[str, Number] | None = None
) -> Callable[[Callable[[View], Finding]], Callable[[View], Finding]]:
    """Register a check of one host. ``severity`` is that of its failures unless a finding says otherwise."""

    def register(function: Callable[[View], Finding]) -> Callable[[View], Finding]:
        _register(function, "host", reads, severity, thresholds)
        return function

    return register


def cohort_check(
    *, reads: tuple[str, ...], severity: Severity, thresholds: Mapping[str, Number] | None = None
) -> Callable[[Callable[[Sequence[View]], Sequence[Finding]]], Callable[[Sequence[View]], Sequence[Finding]]]:
    """Register a check that compares the hosts of a cohort; it gets those whose surfaces were read, three or more.

    It returns findings with ``host`` or ``hosts`` set; none where there is nothing to say.
    """

    def register(
        function: Callable[[Sequence[View]], Sequence[Finding]],
    ) -> Callable[[Sequence[View]], Sequence[Finding]]:
        _register(function, "cohort", reads, severity, thresholds)
        return function

    return register


@cache
def all_checks() -> Mapping[str, Check]:
    """Return every check of this package by id, in order of id."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def passed(summary: str, **evidence: Any) -> Finding:
    """Return a pass: it was read and it is in order."""
    return Finding(Status.PASS, summary, evidence=evidence)


def not_applicable(summary: str) -> Finding:
    """Return n/a: what the check is about does not exist on this host."""
    return Finding(Status.NA, summary)


def unknown(reason: str) -> Finding:
    """Return unknown: it could not be told, and why. Never a pass."""
    return Finding(Status.UNKNOWN, reason)
