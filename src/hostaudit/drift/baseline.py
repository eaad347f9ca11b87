"""The baseline: what somebody accepted, as a text that is reviewed line by line and lives in git. Pure.

TOML. What most hosts of a cohort share stands once below ``[cohorts.NAME]``; below ``[hosts.NAME]`` stand the cohort,
and the facts in which that host differs from it (``false``: it does not have the fact). So one host's change is one
line, and the same facts always give the same bytes: no times, sorted, nothing about who made it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hostaudit.drift.flat import ABSENT
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA = "hostaudit.baseline/1"
HEAD = """\
# What is accepted as it is; `hostaudit drift` tells what differs from it. Made by `hostaudit baseline accept`, and fit
# for review: a fact a line, sorted; [cohorts] hold what most of their hosts share, [hosts] in what one is otherwise.
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Accepted facts, by host."""

    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cohorts: Mapping[str, str] = field(default_factory=dict)
    """Host -> its cohort when it was accepted."""
    version: str = ""
    """Of the agent that read the facts."""


def accept(
    old: Baseline, new: Mapping[str, Mapping[str, str]], cohorts: Mapping[str, str], version: str, only: Sequence[str]
) -> Baseline:
    """Return the baseline with the facts of ``new`` hosts; with ``only``, those whose path one of the globs matches.

    A host that is new to the baseline is accepted whole. Globs match names of sysctls as well as paths.
    """
    hosts = {name: dict(facts) for name, facts in old.hosts.items()}
    for name, facts in new.items():
        if not only or name not in hosts:
            hosts[name] = dict(facts)
            continue
        kept = hosts[name]
        for path in sorted(kept.keys() | facts.keys()):
            if matches(path, only):
                if path in facts:
                    kept[path] = facts[path]
                else:
                    kept.pop(path)
    return Baseline(hosts, {**old.cohorts, **cohorts}, version)


def matches(path: str, globs: Sequence[str]) -> bool:
    """Say whether a path, or the name of the sysctl in it, is meant by one of the globs, or is one of them."""
    short = path.removeprefix("sysctl.knobs.")
    names = (path, short, short.rpartition(".")[0])
    return any(name == glob or fnmatchcase(name, glob) for glob in globs for name in names)


def changed(old: Baseline, new: Baseline) -> list[tuple[str, str, str, str]]:
    """Return (host, path, before, now) of what is accepted otherwise, in order."""
    found = []
    for name in sorted(old.hosts.keys() | new.hosts.keys()):
        before, now = old.hosts.get(name, {}), new.hosts.get(name, {})
        paths = sorted(p for p in before.keys() | now.keys() if before.get(p) != now.get(p))
        found += [(name, path, before.get(path, ABSENT), now.get(path, ABSENT)) for path in paths]
    return found


def written(baseline: Baseline) -> str:
    """Return the file."""
    members: dict[str, list[str]] = {}
    for name in sorted(baseline.hosts):
        members.setdefault(baseline.cohorts.get(name, "all"), []).append(name)
    common = {cohort: _common([baseline.hosts[n] for n in names]) for cohort, names in sorted(members.items())}
    out = [HEAD, f"schema = {_text(SCHEMA)}\n", f"version = {_text(baseline.version)}\n"]
    for cohort, facts in common.items():
        out.append(f"\n[cohorts.{_key(cohort)}]\n")
        out += [f"{_text(path)} = {_text(value)}\n" for path, value in sorted(facts.items())]
    for name in sorted(baseline.hosts):
        cohort = baseline.cohorts.get(name, "all")
        shared, own = common[cohort], baseline.hosts[name]
        out.append(f"\n[hosts.{_key(name)}]\ncohort = {_text(cohort)}\n")
        for path in sorted(shared.keys() | own.keys()):
            if own.get(path) != shared.get(path):
                out.append(f"{_text(path)} = {_text(own[path]) if path in own else 'false'}\n")
    return "".join(out)


def parsed(document: Mapping[str, Any], file: str) -> Baseline:
    """Return the baseline of a decoded file. Raises UsageError naming file and place."""
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{file}: schema is {document.get('schema')!r}, expected {SCHEMA!r}; is it a baseline?")
    cohorts, hosts = document.get("cohorts", {}), document.get("hosts", {})
    for section, all_ in (("cohorts", cohorts), ("hosts", hosts)):
        for name, facts in all_.items() if isinstance(all_, dict) else [("", None)]:
            if not isinstance(facts, dict):
                raise UsageError(f"{file}: [{section}.{name}] is no table of facts")
            wrong = [k for k, v in facts.items() if not isinstance(v, str) and (v is not False or section == "cohorts")]
            if wrong:
                raise UsageError(f"{file}: [{section}.{name}] {wrong[0]}: a fact is text; for a host also false")
    found: dict[str, dict[str, str]] = {}
    of: dict[str, str] = {}
    for name, own in hosts.items():
        of[name] = own.get("cohort") or "all"
        if of[name] not in cohorts:
            raise UsageError(f"{file}: [hosts.{name}] is of cohort {of[name]}, and there is no [cohorts.{of[name]}]")
        whole = {**cohorts[of[name]], **{path: value for path, value in own.items() if path != "cohort"}}
        found[name] = {path: value for path, value in whole.items() if value is not False}
    return Baseline(found, of, str(document.get("version", "")))


def _common(all_: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what more than half of the hosts have; where two are the only ones, what both have."""
    found = {}
    for path in {path for facts in all_ for path in facts}:
        value, number = Counter(facts[path] for facts in all_ if path in facts).most_common(1)[0]
        if 2 * number > len(all_):
            found[path] = value
    return found


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    """Return a basic string of TOML: JSON's escapes are among those of TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
