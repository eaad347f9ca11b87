"""May a batch be kept? From what was found before and after the change, on its hosts and their peers. Pure.

A finding closes on evidence only: the check passes now, and either its cause was a value, which was read back, or its
counter moved in the window just before the change and stands still in an equal window after it. A counter that stood
still before as well proves nothing; that is said (``unproved``), and is no reason to put the change back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hostaudit.model import Grade, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from hostaudit.model import Finding


class Closed(StrEnum):
    """What became of a finding that a change was to close."""

    CLOSED = "closed"
    UNPROVED = "unproved"
    """It is not seen any more, but nothing moved before the change either."""
    RISK = "still a risk"
    ACTIVE = "still active"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a batch did to one host."""

    host: str
    checks: dict[str, Closed] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    """Why a check whose state is ``unknown`` could not be judged after the change."""
    worse: tuple[str, ...] = ()
    """Sentences: active findings that this host did not have before and that none of its unchanged peers has."""

    def bad(self, *, keep_active: bool) -> list[str]:
        """Return why the change is to be put back; empty when it may stay."""
        reasons = list(self.worse)
        if not keep_active:
            reasons += [f"{c} is still active" for c, state in self.checks.items() if state is Closed.ACTIVE]
        reasons += [f"{c} could not be judged again: {why}" for c, why in self.unknown.items()]
        return reasons


def verdict(
    host: str,
    checks: Sequence[str],
    before: Sequence[Finding],
    after: Sequence[Finding],
    unchanged: Collection[str],
) -> Verdict:
    """Judge one host; ``unchanged`` are the names of the peers that were not changed between the two readings."""
    found = {check: _closed(check, host, before, after) for check in checks}
    unknown = {check: _why(check, host, after) for check, state in found.items() if state is Closed.UNKNOWN}
    had = {f.check for f in _active(before, {host})}
    peers = {f.check for f in _active(after, unchanged)}
    worse = [f for f in _active(after, {host}) if f.check not in had | peers]
    return Verdict(host, found, unknown, tuple(f"new since the change: {f.check}: {f.summary}" for f in worse))


def _closed(check: str, host: str, before: Sequence[Finding], after: Sequence[Finding]) -> Closed:
    now = [f for f in after if f.check == check and host in _hosts(f)]
    then = [f for f in before if f.check == check and host in _hosts(f)]
    failed = [f for f in now if f.status is Status.FAIL]
    if any(f.grade is Grade.ACTIVE for f in failed):
        return Closed.ACTIVE
    if failed:
        return Closed.RISK
    if any(f.status is Status.UNKNOWN for f in now):
        return Closed.UNKNOWN
    # a check of a whole cohort says nothing about hosts that are like the others: silence is its pass
    return Closed.CLOSED if any(f.status is Status.FAIL for f in then) else Closed.UNPROVED


def _why(check: str, host: str, after: Sequence[Finding]) -> str:
    """Return the reasons of a check that says ``unknown`` after the change, each once."""
    told = [f.summary for f in after if f.check == check and host in _hosts(f) and f.status is Status.UNKNOWN]
    return "; ".join(dict.fromkeys(told))


def _active(findings: Iterable[Finding], hosts: Collection[str]) -> list[Finding]:
    return [
        f
        for f in findings
        if f.status is Status.FAIL and f.grade is Grade.ACTIVE and not f.netns and set(_hosts(f)) & set(hosts)
    ]


def _hosts(finding: Finding) -> tuple[str, ...]:
    return (finding.host,) if finding.host else finding.hosts
