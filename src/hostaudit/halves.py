"""Hosts that must accept INVALID together, and of which a plan changes only some. Pure.

Both halves of an asymmetric flow meet a filter, on different hosts. Where one host accepts INVALID and the other one
drops it, "connect fails" becomes "connects, then hangs", which is harder to find.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hostaudit.checks import _invalid
from hostaudit.knobs import ALLOW_INVALID
from hostaudit.model import Collected, Declined, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.model import Host, PlannedChange
    from hostaudit_agent.snapshot import Snapshot

HALF = "half a fix: "
"""With this begins the reason of each host that is missing."""
CHECK = "conntrack-invalid-drop"
ADVICE = (
    "Change all hypervisors of the cohort in one plan: with one half fixed, 'connect fails' becomes 'connects, then "
    "hangs'."
)
TOGETHER = 8
"""Hosts that are changed at the same time where half of a change is worse than none. With more of them one canary of
each cohort goes first: one mistake must not reach every hypervisor of a fleet at once."""
_MOST_NAMES = 3


def halves(
    changes: Sequence[PlannedChange],
    answers: Sequence[Collected | Unreachable],
    outside: Sequence[Host],
    declined: Sequence[Declined],
) -> list[Declined]:
    """Return what is declined, with the hosts first that leave a planned change of their cohort half a fix."""
    fixed = accepting(changes)
    before = {one.host: one for one in reversed(declined) if one.check == CHECK}
    found: dict[str, Declined] = {}
    for host, why in _others(answers, outside):
        together = fixed.get(host.cohort, [])
        if not together or host.name in together:
            continue
        old = before.get(host.name)
        said = f"{why} ({old.reason})" if old else why
        reason = f"{HALF}{_names(together)} will accept INVALID packets, this host of the same cohort not: {said}"
        found[host.name] = Declined(host.name, CHECK, reason, old.advice if old else ADVICE)
    rest = [one for one in declined if one.host not in found or one is not before.get(one.host)]
    return [*(found[name] for name in sorted(found)), *rest]


def accepting(changes: Sequence[PlannedChange]) -> dict[str, list[str]]:
    """Return, by cohort, the hosts that the changes make accept INVALID packets."""
    found: dict[str, list[str]] = {}
    for change in changes:
        if any(knob.knob == ALLOW_INVALID and knob.then == "1" for knob in change.knobs):
            found.setdefault(change.cohort, []).append(change.host)
    return found


def whole(changes: Sequence[PlannedChange]) -> bool:
    """Tell whether these changes are to be on all of their hosts or on none."""
    return any(knob.knob == ALLOW_INVALID for change in changes for knob in change.knobs)


def with_risk(changes: Sequence[PlannedChange], alone: int, apart: int) -> tuple[PlannedChange, ...]:
    """Return the changes, with how long it is half a fix in the risk of those that are whole or nothing.

    ``alone``: seconds that a canary is alone with it. ``apart``: seconds between a batch's first host and its last.
    """
    mine = [change for change in changes if whole([change])]
    if len(mine) < 2:
        return tuple(changes)
    said = (
        f"While only some of the {len(mine)} hosts have it, new connections over the asymmetric path connect and hang: "
    )
    if len(mine) <= TOGETHER:
        said += f"all are changed in one batch, which takes it within about {apart} s"
    else:
        said += f"one canary of each cohort has it alone for about {alone} s, then all others get it in one batch"
    said += ". Where one fails, all go back."
    return tuple(replace(c, risk=f"{c.risk} {said}".strip()) if whole([c]) else c for c in changes)


def _others(answers: Sequence[Collected | Unreachable], outside: Sequence[Host]) -> Iterator[tuple[Host, str]]:
    """Yield each host that drops INVALID, or may, and why it is not known or not asked."""
    for answer in answers:
        if isinstance(answer, Unreachable):
            yield answer.host, f"it could not be audited, {answer.reason}"
        elif why := _drops(answer.snapshot):
            yield answer.host, why
    for host in outside:
        yield host, "the limit leaves it out, so it was not read"


def _drops(snapshot: Snapshot) -> str:
    """Return how the host stands with INVALID packets; empty where it lets them through."""
    if snapshot.firewall is None or snapshot.link is None or snapshot.sysctl is None:
        return "whether it drops them could not be read"
    if _invalid.examine(snapshot).met:
        return "it drops them and is not changed"
    parts = [u for u in snapshot.unread if u.surface.startswith("firewall.") and not u.netns]
    if parts and _invalid.paths(snapshot):
        return f"whether it drops them could not be read, {parts[0].reason}"
    return ""


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown
