"""Findings that people have decided to live with, until a date. Pure: ``today`` is an argument.

In hostaudit.toml::

    [[waivers]]
    check = "rp-filter-strict"          # an id, or a glob
    host = "web*"                       # glob; and, or instead: cohort
    reason = "hardening guide 3.3.7; these hosts have one way in"
    expires = 2027-03-31                # the last day; there is no waiver without an end
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hostaudit.errors import PolicyError
from hostaudit.model import Status, Waived

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.model import Finding
    from hostaudit.places import Places

KEYS = ("check", "host", "cohort", "reason", "expires")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry of ``[[waivers]]``."""

    check: str
    host: str
    cohort: str
    reason: str
    expires: date
    place: str
    """``hostaudit.toml:12``"""

    def covers(self, finding: Finding, cohort_of: Mapping[str, str]) -> bool:
        """Tell whether it is about this finding: its check, and *every* host that the finding is about."""
        hosts = finding.hosts or (finding.host,)
        return fnmatchcase(finding.check, self.check) and all(
            fnmatchcase(host, self.host) and fnmatchcase(cohort_of.get(host, ""), self.cohort) for host in hosts
        )

    def __str__(self) -> str:
        where = [f"{k} {v}" for k, v in (("host", self.host), ("cohort", self.cohort)) if v != "*"]
        return f"{self.check} on {' and '.join(where) or 'all hosts'}"


def parse(entries: Any, checks: Iterable[str], places: Places) -> tuple[Waiver, ...]:
    """Turn the decoded list into waivers. Raises PolicyError with file, line and entry."""
    if not isinstance(entries, list):
        raise PolicyError(f"{places.at('waivers')}: waivers is a list of tables: write [[waivers]], twice bracketed")
    known = tuple(checks)
    return tuple(_waiver(entry, number, known, places) for number, entry in enumerate(entries, 1))


def _waiver(entry: Any, number: int, checks: Sequence[str], places: Places) -> Waiver:
    def wrong(key: str, what: str) -> PolicyError:
        return PolicyError(f"{places.at('waivers', key, number)}: [[waivers]] entry {number}: {what}")

    if not isinstance(entry, dict):
        raise wrong("", "expected a table")
    for key in entry:
        if key not in KEYS:
            raise wrong(key, f"no key {key!r}; it knows: {', '.join(KEYS)}")
    for key in ("check", "reason"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise wrong(key, f"{key} is missing or no text; a waiver has check, host or cohort, reason and expires")
    for key in ("host", "cohort"):
        if not isinstance(entry.get(key, "*"), str) or not entry.get(key, "*").strip():
            raise wrong(key, f"{key} is a name or a glob in quotes")
    if not any(fnmatchcase(check, entry["check"]) for check in checks):
        raise wrong("check", f"no check is called {entry['check']!r}; `hostaudit explain` lists them")
    if "host" not in entry and "cohort" not in entry:
        raise wrong("", 'host or cohort is missing; host = "*" is all hosts')
    expires = entry.get("expires")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise wrong("expires", "expires is the last day, without quotes and time, as in 2027-03-31")
    host, cohort = entry.get("host", "*"), entry.get("cohort", "*")
    return Waiver(entry["check"], host, cohort, entry["reason"].strip(), expires, places.at("waivers", "", number))


def waive(
    findings: Iterable[Finding], waivers: Sequence[Waiver], cohort_of: Mapping[str, str], today: date
) -> tuple[list[Finding], list[Waived], list[str]]:
    """Return the findings that count, those that are waived, and what is to be said about waivers that expired."""
    valid = [w for w in waivers if today <= w.expires]
    expired = [w for w in waivers if today > w.expires]
    counting: list[Finding] = []
    waived: list[Waived] = []
    again = dict.fromkeys(expired, 0)
    for finding in findings:
        by = next((w for w in valid if w.covers(finding, cohort_of)), None)
        if finding.status is not Status.FAIL:
            counting.append(finding)
        elif by:
            waived.append(Waived(finding, by.reason, by.expires.isoformat(), by.place))
        else:
            counting.append(finding)
            for waiver in expired:
                again[waiver] += waiver.covers(finding, cohort_of)
    return counting, waived, [_said(waiver, number) for waiver, number in again.items()]


def _said(waiver: Waiver, number: int) -> str:
    then = f"{number} finding{'s count' if number != 1 else ' counts'} again" if number else "nothing needs it now"
    return f"{waiver.place}: the waiver of {waiver} expired after {waiver.expires}: {then}. Renew it or delete it."
