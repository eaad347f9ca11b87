"""Snapshots x checks -> findings. Pure: the same snapshots and policy give the same findings."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from hostaudit import garbage
from hostaudit.checks import Check, Fleet, View, _guests, all_checks, unknown
from hostaudit.cohort import SMALLEST, cohorts
from hostaudit.model import Collected, Finding, Grade, HostReport, Severity, Status, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hostaudit.policy import Policy
    from hostaudit.probed import Probes
    from hostaudit_agent.snapshot import Namespace, Snapshot

BUG = "bug"
"""Key of the evidence of a finding that is about the check itself."""


@garbage.collected_after(0)  # judging makes nothing circular
def evaluate(
    collected: Sequence[Collected],
    policy: Policy,
    checks: Mapping[str, Check] | None = None,
    probes: Probes | None = None,
) -> list[Finding]:
    """Run every check over every host that answered; worst first, then by check and host."""
    wanted = [c for c in (all_checks() if checks is None else checks).values() if c.id not in policy.off]
    findings: list[Finding] = []
    for check in wanted:
        if check.fleet is not None:
            findings += _fleet(check, collected, policy, probes)
    for members in cohorts(collected).values():
        spaces = [_namespaces(one.snapshot) for one in members]
        for check in wanted:
            if check.cohort is not None:
                findings += _cohort(check, [View(one.host, one.snapshot, policy, check) for one in members])
            elif check.host is not None:
                cohort = _Cohort(members, policy, check)
                for place, one in enumerate(members):
                    findings.append(_one(check, cohort.view(place)))
                    for name, inner in spaces[place]:
                        findings.append(_one(check, View(one.host, inner, policy, check, netns=name)))
    return sorted(findings, key=order)


class _Cohort:
    """The views that one check has of a cohort; those of peers are made when a check asks for them, as few do."""

    def __init__(self, members: Sequence[Collected], policy: Policy, check: Check) -> None:
        self.members = members
        self._of = (policy, check)
        self._memo: dict[Any, Any] = {}

    def view(self, place: int) -> View:
        """Return what the check sees of a host, with its peers."""
        one = self.members[place]
        return View(one.host, one.snapshot, *self._of, _Others(self, place), "", self._memo)

    @cached_property
    def views(self) -> list[View]:
        """All hosts as their peers see them."""
        return [View(one.host, one.snapshot, *self._of, memo=self._memo) for one in self.members]


class _Others(Sequence[View]):
    """All views but one, without a copy for every host of a cohort and every check."""

    def __init__(self, cohort: _Cohort, left_out: int) -> None:
        self._cohort = cohort
        self._left_out = left_out

    def __len__(self) -> int:
        return len(self._cohort.members) - 1

    def __iter__(self) -> Iterator[View]:
        views = self._cohort.views
        yield from islice(views, self._left_out)
        yield from islice(views, self._left_out + 1, None)

    @overload
    def __getitem__(self, index: int) -> View: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[View]: ...

    def __getitem__(self, index: int | slice) -> View | Sequence[View]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self._cohort.views[number + (number >= self._left_out)]


_FAILS_FIRST = {status: -1 if status is Status.FAIL else place for place, status in enumerate(Status)}


def order(finding: Finding) -> tuple[object, ...]:
    """Return the sorting key: failures first, active before risk, worst severity first."""
    active_first = 0 if finding.grade is Grade.ACTIVE else 1
    where = finding.host or ",".join(finding.hosts)
    return (_FAILS_FIRST[finding.status], active_first, -finding.severity.rank, finding.check, where, finding.netns)


def host_reports(collected: Iterable[Collected], unreachable: Iterable[Unreachable]) -> list[HostReport]:
    """Return the hosts of a run in order of name."""
    reports = [_report(one) for one in collected]
    reports += [
        HostReport(u.host.name, "unreachable", u.reason, collect_seconds=round(u.seconds, 2)) for u in unreachable
    ]
    return sorted(reports, key=lambda r: r.name)


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings of each status, and of each grade among the failures."""
    total = {"fail": 0, "pass": 0, "unknown": 0, "n/a": 0, "active": 0, "risk": 0}
    for finding in findings:
        total[finding.status] += 1
        if finding.grade is not None:
            total[finding.grade] += 1
    return total


def _report(one: Collected) -> HostReport:
    snapshot = one.snapshot
    platform = snapshot.platform
    reasons = sorted({f"{u.surface}: {u.reason}" for u in snapshot.unread})
    name = ""
    if platform is not None:
        name = f"Proxmox VE {platform.proxmox.version}" if platform.proxmox else platform.os_name
    return HostReport(
        one.host.name,
        "partial" if reasons else "ok",
        "; ".join(reasons),
        kernel=platform.kernel if platform else "",
        platform=name,
        collect_seconds=round(one.seconds, 2),
    )


def _namespaces(snapshot: Snapshot) -> list[tuple[str, Snapshot]]:
    """Return the other network namespaces of a host by name, each as a host of its own without peers."""
    return [(space.name, _of_namespace(snapshot, space)) for space in snapshot.namespaces]


def _of_namespace(whole: Snapshot, space: Namespace) -> Snapshot:
    """Return the snapshot as seen from another network namespace: the same machine, other surfaces."""
    return replace(
        whole,
        conntrack=space.conntrack,
        sysctl=space.sysctl,
        firewall=space.firewall,
        link=space.link,
        counters=space.counters,
        device=space.device,
        route=space.route,
        neighbour=space.neighbour,
        sockets=space.sockets,
        namespaces=[],
    )


def _missing(check: Check, view: View) -> str:
    """Return why a surface that the check reads is not there; empty when all are."""
    for surface in check.reads:
        if surface != "probes" and getattr(view.snapshot, surface) is None:
            reasons = [u.reason for u in view.unread(surface) if u.surface == surface]
            return f"{surface} was not read: {reasons[0] if reasons else 'the agent gave no reason'}"
    return ""


def _one(check: Check, view: View) -> Finding:
    missing = _missing(check, view)
    assert check.host is not None  # noqa: S101 - cohort checks go another way
    try:
        found = unknown(missing) if missing else check.host(view)
    except Exception as bug:  # noqa: BLE001 - a bug in one check must not cost forty hosts their audit
        found = _bug(bug)
    if found.status is Status.FAIL and not view.netns:
        ports = _guests.mentioned(view.snapshot, found.summary, found.evidence)
        found = replace(found, evidence={**found.evidence, "guest_ports": ports} if ports else found.evidence)
    return _signed(found, check.id, view.host.name, view.netns)


def _signed(found: Finding, check: str, host: str, netns: str) -> Finding:
    """Return a finding that says whose it is; only failures have a severity. One that nobody has yet is not copied."""
    severity = found.severity if found.status is Status.FAIL else Severity.INFO
    if found.check or found.host:
        same = (found.check, found.host, found.netns, found.severity) == (check, host, netns, severity)
        return found if same else replace(found, check=check, host=host, netns=netns, severity=severity)
    for name, value in (("check", check), ("host", host), ("netns", netns), ("severity", severity)):
        object.__setattr__(found, name, value)
    return found


def _cohort(check: Check, views: Sequence[View]) -> list[Finding]:
    assert check.cohort is not None  # noqa: S101 - host checks go another way
    readable = [v for v in views if not _missing(check, v)]
    if len(readable) < SMALLEST:
        return []
    try:
        return [replace(f, check=check.id) for f in check.cohort(readable)]
    except Exception as bug:  # noqa: BLE001 - as above
        return [replace(_bug(bug), check=check.id, hosts=tuple(v.host.name for v in readable))]


def _fleet(check: Check, collected: Sequence[Collected], policy: Policy, probes: Probes | None) -> list[Finding]:
    assert check.fleet is not None  # noqa: S101 - the others go another way
    if "probes" in check.reads and probes is None:
        return []
    views = [View(one.host, one.snapshot, policy, check) for one in sorted(collected, key=lambda c: c.host.name)]
    readable = tuple(v for v in views if not _missing(check, v))
    blind = [] if "probes" in check.reads else [(v.host.name, why) for v in views if (why := _missing(check, v))]
    left = [replace(unknown(why), check=check.id, host=name) for name, why in blind]
    try:
        return left + [replace(f, check=check.id) for f in check.fleet(Fleet(readable, policy, check, probes))]
    except Exception as bug:  # noqa: BLE001 - as above
        return [replace(_bug(bug), check=check.id, hosts=tuple(v.host.name for v in readable))]


def _bug(error: Exception) -> Finding:
    """Return what a check that failed itself says: nothing is known, and it is our fault."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
    return replace(
        unknown(f"a bug in this check: {type(error).__name__} at {where}; please report it"),
        evidence={BUG: f"{type(error).__name__}: {error}"},
    )
