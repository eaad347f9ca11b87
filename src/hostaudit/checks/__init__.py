"""One file per check; the file's name is the check's id.

A check is a pure function of one host's snapshot (or of a cohort of them) and the policy. Its module docstring has
fixed headings and *is* its documentation page (``hostaudit explain``, docs/checks). ``reads`` names the surfaces it
needs: where one of them was not read, ``evaluate`` answers ``unknown`` with the agent's reason and the check is not
called at all, so no check handles missing surfaces. A part of a surface that was not read
(``view.unread("firewall.")``) is the check's own business.

A fleet check is called once in a run, with all hosts that answered and with what probes saw (``reads=("probes",)``).
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from hostaudit.model import Alternative, Finding, Grade, Host, Remedy, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.policy import Number, Policy
    from hostaudit.probed import Probes
    from hostaudit_agent.snapshot import Snapshot, Unread

T = TypeVar("T")

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
    peers: Sequence[View] = ()
    """The other hosts of the cohort that answered (first namespace only), by name; empty inside a peer."""
    netns: str = ""
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What this check computed of single hosts, and of the cohort, in this run; the same for a host and its peers."""

    def once(self, function: Callable[[View], T], *, of_cohort: bool = False) -> T:
        """Return what a function says of this host, or of its cohort, computed once: a cohort may have 2,000 hosts.

        What is said of the cohort must not depend on the host that asks first.
        """
        key = (function, None if of_cohort else self.host.name)
        if key not in self.memo:
            self.memo[key] = function(self)
        found: T = self.memo[key]
        return found

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
class Fleet:
    """What a fleet check sees: every host whose surfaces were read, and what probes saw, if any were sent."""

    views: tuple[View, ...]
    policy: Policy
    check: Check
    probes: Probes | None = None

    def threshold(self, name: str) -> Number:
        """Return the threshold: the policy's, or the check's default."""
        return self.policy.threshold(self.check.id, name, self.check.thresholds[name])


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
    fleet: Callable[[Fleet], Sequence[Finding]] | None = None


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


def fleet_check(
    *, reads: tuple[str, ...], severity: Severity, thresholds: Mapping[str, Number] | None = None
) -> Callable[[Callable[[Fleet], Sequence[Finding]]], Callable[[Fleet], Sequence[Finding]]]:
    """Register a check of the whole run. With ``probes`` in ``reads`` it is called only where probes were sent.

    It returns findings with ``host`` or ``hosts`` set; none where there is nothing to say.
    """

    def register(function: Callable[[Fleet], Sequence[Finding]]) -> Callable[[Fleet], Sequence[Finding]]:
        _register(function, "fleet", reads, severity, thresholds)
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
