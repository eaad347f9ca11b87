"""The four comparisons. Each gives path -> what the fact should be; together they give the lines of one host. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostaudit.checks import View, _alike, _odd, all_checks
from hostaudit.drift.flat import ABSENT
from hostaudit.drift.model import READABLE, Against, Kind, Line
from hostaudit.model import Status
from hostaudit.volatile import counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.model import Collected
    from hostaudit.policy import Policy

CONFIGURED, OUTLIER = "sysctl-drift", "fleet-outlier"
"""The checks whose logic the first and the third comparison are."""


_NOTHING = {ABSENT, "", "None"}
"""Ways in which a snapshot says that there is nothing."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one host at one time: its facts, and what of them could not be read."""

    facts: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)
    """Prefix of paths -> reason."""
    agent: str = ""
    """Version of what read it: facts that only one of two versions reads are not compared."""
    where: str = ""
    """``run 20261121T...``; ``baseline.toml``."""


def compared(now: Known, then: Known) -> dict[str, tuple[str, str]]:
    """Return path -> (now, then) of the facts that differ and that were read both times.

    A surface of which one side has nothing at all was not read there, or by another version.
    """
    surfaces = [{path.partition(".")[0] for path in side.facts} for side in (now, then)]
    both = surfaces[0] & surfaces[1]
    blind = tuple({*now.unread, *then.unread})
    same = now.agent == then.agent
    found = {}
    for path in now.facts.keys() | then.facts.keys():
        here, there = now.facts.get(path, ABSENT), then.facts.get(path, ABSENT)
        if here == there or path.partition(".")[0] not in both or path.startswith(blind):
            continue
        if same or ABSENT not in (here, there):
            found[path] = (here, there)
    return found


def configured(one: Collected, policy: Policy) -> dict[str, Against]:
    """Return the sysctls that run otherwise than configured, as the check ``sysctl-drift`` sees it."""
    check = all_checks()[CONFIGURED]
    if one.snapshot.sysctl is None or one.snapshot.platform is None or check.host is None:
        return {}
    finding = check.host(View(one.host, one.snapshot, policy, check))
    drifted = finding.evidence.get("drifted", {}) if finding.status is Status.FAIL else {}
    return {
        f"sysctl.knobs.{key}.running": Against(Kind.CONFIGURED, fact["configured"], fact["at"])
        for key, fact in drifted.items()
    }


def cohort(members: Sequence[Collected], policy: Policy) -> dict[str, dict[str, Against]]:
    """Return host -> path -> what a clear majority of its cohort has, as the check ``fleet-outlier`` sees it.

    A cohort in which nobody is odd, and one below three hosts, says nothing.
    """
    check = all_checks()[OUTLIER]
    if check.id in policy.off:
        return {}
    views = [View(one.host, one.snapshot, policy, check) for one in members]
    if not views:
        return {}
    found = _odd.differences(views, views[0].threshold("odd_share"))
    where = f"most of the {len(views) - 1} others of cohort {members[0].host.cohort}"
    return {
        name: {
            d.path: Against(Kind.COHORT, d.others, where)
            for d in all_
            if counts(d.path) and not {d.here, d.others} <= _NOTHING
        }
        for name, all_ in found.items()
    }


def lines(
    name: str,
    now: Known,
    against: Mapping[Kind, Mapping[str, Against]],
    hostname: str,
) -> list[Line]:
    """Return the lines of one host, in order of path: one fact, one line, whatever it differs from."""
    found: dict[str, list[Against]] = {}
    own: dict[str, str] = {}
    for kind in (Kind.CONFIGURED, Kind.BASELINE, Kind.LAST):
        for path, one in against.get(kind, {}).items():
            found.setdefault(path, []).append(one)
            own[_alike.plain(path, hostname)] = path
    odd = against.get(Kind.COHORT, {})
    if odd.keys() - now.facts.keys() - own.keys():
        own = {_alike.plain(path, hostname): path for path in now.facts} | own
    for path, one in odd.items():
        found.setdefault(path if path in now.facts else own.get(path, path), []).append(one)
    order = list(Kind)
    made = [
        Line(name, path, now.facts.get(path, ABSENT), tuple(sorted(all_, key=lambda a: order.index(a.kind))))
        for path, all_ in sorted(found.items())
    ]
    return made + [
        Line(name, READABLE + prefix.rstrip("."), "not compared", (Against(Kind.UNREAD, "", reason),))
        for prefix, reason in sorted(now.unread.items())
    ]
