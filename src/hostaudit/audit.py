"""The pipeline on one screen: inventory -> collect -> evaluate -> run."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hostaudit import __version__
from hostaudit.causes import causes
from hostaudit.checks import all_checks
from hostaudit.errors import UsageError
from hostaudit.evaluate import counts, evaluate, host_reports
from hostaudit.guestmap import guest_map
from hostaudit.model import Collected, Run, Unreachable
from hostaudit.policy import Policy
from hostaudit.waivers import waive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.checks import Check
    from hostaudit.collect import CollectOptions
    from hostaudit.model import Host
    from hostaudit.probed import Probes

Answer = Collected | Unreachable


@dataclass(frozen=True)
class Request:
    """What is to be judged, and by what."""

    policy: Policy = field(default_factory=Policy)
    only: tuple[str, ...] = ()
    """Checks to run; empty: all."""


def collected(
    hosts: Sequence[Host],
    options: CollectOptions,
    progress: Callable[[Answer], None],
    notice: Callable[[str], None],
) -> list[Answer]:
    """Read every host; a host's failure is a value among the answers."""
    from hostaudit.bundle import build
    from hostaudit.collect import collect

    return collect(hosts, build(), options, progress, notice)


def judged(answers: Sequence[Answer], request: Request, started: datetime, probes: Probes | None = None) -> Run:
    """Evaluate the answers, and what probes saw, and put everything into one run."""
    good = [a for a in answers if isinstance(a, Collected)]
    bad = [a for a in answers if isinstance(a, Unreachable)]
    everything = evaluate(good, request.policy, chosen(request.only), probes)
    cohort_of = {one.host.name: one.host.cohort for one in good}
    findings, waived, notices = waive(everything, request.policy.waivers, cohort_of, started.date())
    return Run(
        id=f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        started=stamp(started),
        finished=stamp(datetime.now(UTC)),
        version=__version__,
        hosts=tuple(host_reports(good, bad)),
        findings=tuple(findings),
        counts={**counts(findings), "waived": len(waived)},
        guests=guest_map(answers),
        causes=causes(findings),
        waived=tuple(waived),
        notices=tuple(notices),
    )


def chosen(only: Sequence[str]) -> Mapping[str, Check]:
    """Return the checks by id, or those named; raises UsageError for a name that is none."""
    known = all_checks()
    for name in only:
        if name not in known:
            raise UsageError(f"--only {name}: no such check; `hostaudit explain` lists them")
    return {name: known[name] for name in only} if only else known


def stamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
