"""Does a knob have the value that was asked for, as the kernel or the firewall has it now, and at the next boot? Pure.

Now: from the snapshot. At boot: the line of sysctl.d that wins and the option of host.fw are in the snapshot too; what
a module or an interface will get there is asked of ``witness.py``, see ``questions``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit.border import text
from hostaudit.facts import said
from hostaudit.failures import excerpt
from hostaudit.knobs import HASHSIZE, HOST_FW, MSS, MTU, moves

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.model import KnobChange, PlannedChange
    from hostaudit_agent.snapshot import Snapshot

MODULES = {"net.netfilter.": "nf_conntrack", "net.nf_conntrack": "nf_conntrack", "net.bridge.": "br_netfilter"}
"""Beginnings of keys that come with a module: what is loaded later than systemd-sysctl runs keeps its defaults."""
RUNNING_ONLY = "sysctl_running"
"""A variable of role sysctl: keys that are to hold until the next boot."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a host's files say about the next boot, as ``witness.py`` read them: value and file; None: nothing."""

    mtu: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    modules: dict[str, str | None] = field(default_factory=dict)
    options: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    clamps: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    unread: str = ""
    """Why it could not be asked."""


def boot(seen: Any, failure: str = "") -> Boot:
    """Return what ``witness.py`` answered, validated."""
    if failure:
        return Boot(unread=failure)
    try:
        return msgspec.convert(seen, Boot)
    except msgspec.ValidationError as problem:
        return Boot(unread=f"its answer is not as agreed: {excerpt(str(problem))}")


def questions(changes: Iterable[PlannedChange]) -> str:
    """Return what ``witness.py`` is to look up for these changes, as JSON; empty where the snapshot has it all."""
    names = [knob.knob for change in changes for knob in change.knobs if knob.knob in _lasting(change)]
    modules = {module for name in names for start, module in MODULES.items() if name.startswith(start)}
    links = [name.removeprefix(MTU) for name in names if name.startswith(MTU)]
    asked = {"links": links, "modules": sorted(modules), "options": [name for name in names if name == HASHSIZE]}
    if clamps := [name.removeprefix(MSS) for name in names if name.startswith(MSS)]:
        asked["clamps"] = clamps
    return json.dumps(asked) if any(asked.values()) else ""


def knobs(snapshot: Snapshot, change: PlannedChange) -> dict[str, KnobChange]:
    """Return the knobs of a change by name, as they are in this snapshot."""
    return {knob.knob: knob for knob in moves(change.role, change.vars, snapshot).knobs}


def wrong(snapshot: Snapshot, change: PlannedChange) -> list[str]:
    """Return a phrase for each knob that is not as it was asked for; empty when all are.

    What cannot be read back is wrong: a change that nobody can see is not a change that was proved.
    """
    found = knobs(snapshot, change)
    phrases = []
    for wanted in change.knobs:
        name, now = wanted.knob, found.get(wanted.knob)
        seen = now.running if now else None
        if seen is None and now and name.startswith(HOST_FW):
            seen = now.configured  # an option that no key of the kernel shows
        if seen is None:
            phrases.append(f"{name} could not be read back")
        elif _plain(seen) != _plain(wanted.then):
            phrases.append(f"{name} is {said(seen)}, not {wanted.then}")
    return phrases


def wrong_at_boot(snapshot: Snapshot, change: PlannedChange, found: Boot) -> list[str]:
    """Return a phrase for each knob that would be another one after the next boot; empty when none would."""
    phrases = []
    for wanted in change.knobs:
        name = wanted.knob
        if name not in _lasting(change):
            continue
        place, value = _configured(name, snapshot, found)
        if value is None:
            phrases.append(f"{name} will not be {wanted.then} after a reboot: {place}")
        elif _plain(value) != _plain(wanted.then):
            phrases.append(f"{name} will be {said(value)} after a reboot, not {wanted.then}: {place} says so")
    modules = {m for k in _lasting(change) for start, m in MODULES.items() if k.startswith(start)}
    for module in sorted(modules):
        if found.unread or not found.modules.get(module):
            why = found.unread or "no file of modules-load.d has it"
            phrases.append(f"module {module} may be loaded too late at boot for its keys: {why}")
    return [text(phrase) for phrase in phrases]


def _configured(name: str, snapshot: Snapshot, found: Boot) -> tuple[str, str | None]:
    """Return the file that sets a knob at boot, and the value; without a value, why there is none."""
    if name.startswith((MTU, MSS)) or name == HASHSIZE:
        if found.unread:
            return f"what its files say could not be read, {found.unread}", None
        pairs = found.options if name == HASHSIZE else found.mtu if name.startswith(MTU) else found.clamps
        pair = pairs.get(name if name == HASHSIZE else name.partition(" ")[2])
        return (pair[1], pair[0]) if pair else ("no file sets it", None)
    if name.startswith(HOST_FW):
        proxmox = snapshot.platform.proxmox if snapshot.platform else None
        value = proxmox.options.get(name.removeprefix(HOST_FW)) if proxmox else None
        return "host.fw" if value else "host.fw does not have it", value
    knob = snapshot.sysctl.knobs.get(name) if snapshot.sysctl else None
    if knob and knob.configured:
        return f"{knob.configured.file}:{knob.configured.line}", knob.configured.value
    unread = [u.reason for u in snapshot.unread if u.surface in {"sysctl", "sysctl.configured"} and not u.netns]
    return f"the files could not be read, {unread[0]}" if unread else "no file sets it", None


def _lasting(change: PlannedChange) -> set[str]:
    """Return the names of the knobs that are to hold after a reboot too."""
    return {knob.knob for knob in change.knobs} - set(change.vars.get(RUNNING_ONLY, {}))


def _plain(value: str) -> str:
    return " ".join(str(value).split())
