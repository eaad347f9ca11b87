"""What a plan rests on: single values of a snapshot, by path, and whether they still hold. Pure.

A path is the way through ``hostaudit_agent.snapshot``, joined by dots; None is absence, as there::

    platform.kernel
    platform.owners                                               names only: what shows them has process ids
    platform.proxmox.options.nf_conntrack_allow_invalid
    sysctl.knobs.net.ipv4.conf.eth0/100.rp_filter.running         a dot in an interface's name is a slash
    sysctl.effective.rp_filter.eth0/100
    link.links.eth0/100.mtu                                       an interface, by its name
    firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD      the texts of that chain's rules, no counters
    firewall.mss                                                  the texts of all rules that lower the MSS

What moves by itself (counters, numbers of entries, positions of rules) is no fact: a plan would be stale at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from hostaudit_agent.snapshot import Link, MssRule, Owner, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hostaudit.model import PlannedChange
    from hostaudit_agent.snapshot import Snapshot

LONGEST = 120
"""Characters of a value in a sentence."""


class UnknownFactError(LookupError):
    """The path leads nowhere in this version's snapshots."""


def fact(snapshot: Snapshot, path: str) -> Any:
    """Return the value at ``path`` as JSON types; None where the host does not have it.

    What could not be read is ``{"unread": reason}``, which equals no value: absence is a fact, ignorance is not.
    Raises UnknownFactError for a path that no snapshot has.
    """
    surface = path.partition(".")[0]
    value = _walk(snapshot, path, path)
    if getattr(snapshot, surface) is None:
        reasons = [u.reason for u in snapshot.unread if u.surface == surface and not u.netns]
        return {"unread": reasons[0] if reasons else f"{surface} was not read"}
    if value in (None, []) and (reason := _unread(snapshot, path)):
        return {"unread": reason}
    return value


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON: sorted keys, no blanks, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def take(snapshot: Snapshot, paths: Iterable[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the digests and the values of the facts at ``paths``, in order of path."""
    values = {path: fact(snapshot, path) for path in sorted(set(paths))}
    return {path: digest(value) for path, value in values.items()}, values


def changed(change: PlannedChange, snapshot: Snapshot) -> list[str]:
    """Return a phrase for each fact of the change that no longer holds on this host; empty where all do.

    ``sysctl.knobs.net.core.somaxconn.running: was 128, is 4096 now``
    """
    phrases = []
    for path, then in change.facts.items():
        try:
            value = fact(snapshot, path)
        except UnknownFactError:
            phrases.append(f"{path}: this version of hostaudit does not read it; make the plan again")
            continue
        if digest(value) != then:
            was = f"was {said(change.values[path])}, " if path in change.values else "is another, "
            phrases.append(f"{path}: {was}is {said(value)} now")
    return phrases


def said(value: Any) -> str:
    """Return a fact's value for a sentence, not longer than ``LONGEST``."""
    if isinstance(value, dict) and set(value) == {"unread"}:
        text = f"not readable ({value['unread']})"
    elif value is None or value == "":
        text = "not set"
    elif isinstance(value, list):
        text = "; ".join(map(str, value)) or "nothing"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def escaped(name: str) -> str:
    """Return the name of an interface as it stands in a path."""
    return name.replace(".", "/")


def chain(rule: Rule) -> str:
    """Return the path of the facts about a rule's chain."""
    return f"firewall.invalid.{rule.backend}/{rule.family}/{rule.table}/{rule.chain}"


def _walk(value: Any, rest: str, path: str) -> Any:
    """Follow the rest of a path; None as soon as something on the way is absent."""
    if not rest or value is None:
        return _plain(value)
    if isinstance(value, dict):
        key = _longest(value, rest)
        return None if key is None else _walk(value[key], rest[len(key) + 1 :], path)
    if isinstance(value, list) and value and isinstance(value[0], Rule):
        return sorted(rule.text for rule in value if chain(rule) == path)
    if isinstance(value, list):
        return _of_interface(value, rest, path)
    head, _, tail = rest.partition(".")
    if not dataclasses.is_dataclass(value) or head not in {f.name for f in dataclasses.fields(value)}:
        raise UnknownFactError(path)
    return _walk(getattr(value, head), tail, path)


def _of_interface(value: list[Any], rest: str, path: str) -> Any:
    if path.startswith("firewall.invalid."):
        return []
    head, _, tail = rest.partition(".")
    found = next((v for v in value if isinstance(v, Link) and escaped(v.name) == head), None)
    return None if found is None else _walk(found, tail, path)


def _longest(value: Mapping[str, Any], rest: str) -> str | None:
    """Return the key with which the rest of the path begins; keys of knobs have dots of their own."""
    fitting = [k for k in value if rest == escaped(k) or rest.startswith((f"{k}.", f"{escaped(k)}.")) or rest == k]
    return max(fitting, key=len, default=None)


def _plain(value: Any) -> Any:
    """Return the value as JSON types."""
    if isinstance(value, list):
        if value and isinstance(value[0], Owner):
            return sorted({owner.name for owner in value})
        if value and isinstance(value[0], MssRule):
            return sorted(f"{rule.backend} {rule.family} {rule.table} {rule.chain}: {rule.text}" for rule in value)
        return [_plain(v) for v in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _unread(snapshot: Snapshot, path: str) -> str:
    """Return why the value may be there and was not seen; empty where it is simply not there."""
    surface, _, rest = path.partition(".")
    part = rest.removeprefix("knobs.")
    for one in snapshot.unread:
        of, _, what = one.surface.partition(".")
        if of != surface or one.netns:
            continue
        configured = what == "configured" and ".configured" in part
        backend = surface == "firewall" and part.startswith(("invalid.", "mss")) and "/" in what
        if configured or backend or part == what or part.startswith(f"{what}."):
            return one.reason
    return ""
