"""Findings -> the changes that would end them, and what is left alone and why. Pure: no I/O, no clock.

One change is one role on one host. Findings of a host that name the same role become one change; where two of them want
different values, the worse finding is planned and the other one waits for the next plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit.checks import all_checks
from hostaudit.checks._page import sections
from hostaudit.facts import take
from hostaudit.halves import halves, with_risk
from hostaudit.knobs import Moves, moves
from hostaudit.model import Collected, Declined, Plan, PlannedChange, Status, Unreachable
from hostaudit.writers import FIREWALLS, longest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.model import Finding, Host
    from hostaudit_agent.snapshot import Snapshot

CONFIRMED = 15
"""Seconds, estimated: the guard armed, the role's tasks over SSH, the confirmation over a new connection. The tasks of
a small role alone took 3.4 s without SSH; the rest is room for slow links and busy hosts."""
READ_AGAIN = 8
"""Seconds, estimated: the host read again, two samples three seconds apart, and judged."""
UNDONE = 10
"""Seconds, estimated: the guard puts back what it kept."""
COMPILE = 5
"""Seconds that a program that works in rounds (``writers.period``) needs to make its rules, above its period."""
SETTLE = {"link_mtu": 5}
"""Seconds that a role's change needs until it holds: a carrier that flaps."""

_COSTS = {
    "pve_firewall": "Saving through pvesh writes host.fw anew, without its comments; "
    "the undo puts the file back to the byte.",
}
_KERNELS = frozenset({"conntrack-table-full", "conntrack-hash-undersized"})
"""Checks of limits that belong to the whole kernel, and are read-only in a container."""
_NEW_HANDSHAKES = (
    "New connections over the asymmetric path succeed; established ones survive the fault, so they prove nothing."
)


@dataclass(frozen=True, slots=True)
class Made:
    """What a plan says about itself; times are RFC 3339 in UTC."""

    id: str
    created: str
    version: str
    run: str = ""
    inventory: tuple[str, ...] = ()
    limit: str = ""


@dataclass(slots=True)
class _Draft:
    """A change that grows with each finding that it closes."""

    one: Collected
    role: str
    vars: dict[str, Any] = field(default_factory=dict)
    moves: Moves = field(default_factory=Moves)
    findings: list[Finding] = field(default_factory=list)


class _ConflictError(Exception):
    """Two findings want different things; the message says which."""


def plan(
    findings: Iterable[Finding],
    answers: Sequence[Collected | Unreachable],
    made: Made,
    outside: Sequence[Host] = (),
) -> Plan:
    """Return the plan for these findings, which come worst first as ``evaluate`` returns them.

    ``outside`` are hosts of the inventory that the limit leaves out: they are never changed, but a half fix is named.
    """
    hosts = {a.host.name: a for a in answers if isinstance(a, Collected)}
    drafts: dict[tuple[str, str], _Draft] = {}
    declined: list[Declined] = []
    for finding in findings:
        for name in finding.hosts or (finding.host,):
            if finding.status is Status.FAIL and (why := _planned(finding, hosts[name], drafts)):
                declined.append(Declined(name, finding.check, f"{finding.summary}: {why}", finding.advice))
            elif finding.status is Status.UNKNOWN:
                declined.append(Declined(name, finding.check, f"not known: {finding.summary}", ""))
    changes = _risky([_change(drafts[key]) for key in sorted(drafts)])
    declined = halves(changes, answers, outside, declined)
    told = {one.host for one in declined}
    declined += [
        Declined(a.host.name, "", f"could not be audited: {a.reason}", "Plan again when it answers.")
        for a in answers
        if isinstance(a, Unreachable) and a.host.name not in told
    ]
    return Plan(made.id, made.created, made.version, made.run, made.inventory, made.limit, changes, tuple(declined))


def _planned(finding: Finding, one: Collected, drafts: dict[tuple[str, str], _Draft]) -> str:
    """Put a failure into the drafts; return why it is not done, empty where it is."""
    remedy = finding.remedy
    if remedy is None:
        return _left(finding, one.snapshot)
    key = (one.host.name, remedy.role)
    draft = drafts.get(key) or _Draft(one, remedy.role)
    others = [d for (host, role), d in drafts.items() if host == one.host.name and role != remedy.role]
    try:
        variables = _merged(draft.vars, remedy.vars)
        wanted = moves(remedy.role, {**_by_inventory(one.host, remedy.role), **variables}, one.snapshot)
        _agree(wanted, others)
    except _ConflictError as conflict:
        first = ", ".join(dict.fromkeys(f.check for d in (draft, *others) for f in d.findings))
        return f"{conflict} ({first} comes first); plan again when that is done"
    if wanted.refused:
        return wanted.refused
    draft.vars, draft.moves = variables, wanted
    draft.findings.append(finding)
    drafts[key] = draft
    return ""


def _by_inventory(host: Host, role: str) -> dict[str, Any]:
    """Return the variables of the inventory that decide what the role may do on this host."""
    names = ("pve_firewall_method", "pve_firewall_drop_comments") if role == "pve_firewall" else ()
    return {name: host.variables[name] for name in names if name in host.variables}


def _left(finding: Finding, snapshot: Snapshot) -> str:
    """Return why a finding names no remedy."""
    platform, table = snapshot.platform, snapshot.conntrack
    if finding.netns:
        return f"it is in another network namespace ({finding.netns}), where roles change nothing"
    if finding.check in _KERNELS and platform and platform.container and table and not table.max_writable:
        return f"not settable here, in this {platform.container} container; set it on the host that runs this container"
    if finding.owner in FIREWALLS:  # host.fw could be changed: the advice says why it is not proposed
        return "nothing is proposed without a decision of yours"
    return f"{finding.owner} owns the setting, which is changed there" if finding.owner else "no role changes this here"


def _merged(first: Any, second: Any, name: str = "") -> Any:
    """Return both together: tables by key, lists as a union, single values if they agree. Raises _ConflictError."""
    if isinstance(first, dict) and isinstance(second, dict):
        both = dict(first)
        for key, value in second.items():
            both[key] = _merged(first[key], value, str(key)) if key in first else value
        return both
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(v for v in second if v not in first)]
    if first != second:
        raise _ConflictError(f"it wants {name} {second}, and {first} is planned")
    return first


def _agree(wanted: Moves, others: Iterable[_Draft]) -> None:
    """Raise _ConflictError where another role of the host sets one of the knobs to something else."""
    planned = {knob.knob: (knob.then, d.role) for d in others for knob in d.moves.knobs}
    for knob in wanted.knobs:
        then, role = planned.get(knob.knob, (knob.then, ""))
        if then != knob.then:
            raise _ConflictError(f"it wants {knob.knob} {knob.then}, and role {role} sets {then}")


def _change(draft: _Draft) -> PlannedChange:
    checks = tuple(dict.fromkeys(f.check for f in draft.findings))
    facts, values = take(draft.one.snapshot, draft.moves.facts)
    seconds, undo_seconds = duration(draft.role, draft.moves.owner)
    return PlannedChange(
        id=f"{draft.one.host.name}/{draft.role}",
        host=draft.one.host.name,
        cohort=draft.one.host.cohort,
        checks=checks,
        owner=draft.moves.owner,
        role=draft.role,
        vars=draft.vars,
        knobs=draft.moves.knobs,
        seconds=seconds,
        undo_seconds=undo_seconds,
        risk=_risk(checks, draft.role),
        proof=_proof(checks, draft.moves),
        facts=facts,
        values=values,
        alternatives=tuple(dict.fromkeys(one for finding in draft.findings for one in finding.alternatives)),
    )


def duration(role: str, owner: str) -> tuple[int, int]:
    """Return how long a change and its undo take, in seconds, verification included: estimates, on the safe side.

    An owner that works in rounds has to take the value first; afterwards two of its rounds are watched.
    """
    period = longest(owner)
    settles = SETTLE.get(role, 0) + (period + COMPILE if period else 0)
    return CONFIRMED + settles + READ_AGAIN + 2 * period, UNDONE + settles + READ_AGAIN


def _risky(changes: Sequence[PlannedChange]) -> tuple[PlannedChange, ...]:
    """Return the changes with what it costs that not all hosts are changed at the same instant."""
    period = max((longest(change.owner) for change in changes), default=0)
    return with_risk(changes, CONFIRMED + period + COMPILE + READ_AGAIN, period + COMPILE)


def _risk(checks: Iterable[str], role: str) -> str:
    """Return the checks' "Fix safety", and what the role costs besides."""
    known = all_checks()
    pages: list[Mapping[str, str]] = [sections(known[check]) for check in checks if check in known]
    texts = [" ".join(page.get("Fix safety", "").replace("``", "`").split()) for page in pages]
    return " ".join(dict.fromkeys(t for t in (*texts, _COSTS.get(role, "")) if t))


def _proof(checks: Iterable[str], wanted: Moves) -> str:
    most = 4
    reads = [f"{knob.knob} reads {knob.then}" for knob in wanted.knobs]
    more = [f"{len(reads) - most} more likewise"] if len(reads) > most else []
    period = longest(wanted.owner)
    when = f"within {period + COMPILE} s, and after two rounds of {wanted.owner}" if period else "at once"
    parts = [f"{', '.join(reads[:most] + more)}, {when}.", f"{', '.join(checks)}: pass, read again."]
    if "conntrack-invalid-drop" in checks:
        parts.append(_NEW_HANDSHAKES)
    return " ".join(parts)
