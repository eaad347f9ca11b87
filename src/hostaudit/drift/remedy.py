"""How a fact is put back: the role and its variables where one does it, else the words that say what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.drift.flat import ABSENT, key_of
from hostaudit.drift.model import By, Kind
from hostaudit.knobs import moves
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from hostaudit.drift.model import Line, Who
    from hostaudit_agent.snapshot import Snapshot

_WANTED = (Kind.BASELINE, Kind.CONFIGURED, Kind.LAST, Kind.COHORT)
"""Of several values that a fact could go back to, the one that somebody decided comes first."""


def owner(line: Line, snapshot: Snapshot) -> str:
    """Return what decides over the fact: a program that writes it again, else the file that sets it."""
    key = key_of(line.path)
    if not key:
        return owners.firewall(snapshot.platform) if line.path.startswith(("firewall.", "platform.proxmox.")) else ""
    writer = owners.writer(snapshot.platform, key)
    if writer:
        return f"{writer.name}, {writer.when}" + (f"; set it in {writer.place}" if writer.place else "")
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    return f"{knob.configured.file}, at boot" if knob and knob.configured else "nothing configures it"


def back(line: Line, found: Who, snapshot: Snapshot) -> tuple[Remedy | None, str]:
    """Return the role that puts the fact back, and what to do by hand where there is none."""
    if line.kinds == (Kind.UNREAD.value,) or line.returned:
        return None, ""
    if found.by is By.CHANGE and line.kinds == (Kind.LAST.value,):
        return None, f"hostaudit rollback {found.change}"
    wanted = next(a.value for kind in _WANTED for a in line.against if a.kind is kind)
    remedy = _remedy(line, wanted, snapshot)
    if remedy is None:
        return None, _by_hand(line, wanted)
    refused = moves(remedy.role, remedy.vars, snapshot).refused
    return (None, f"no role can: {refused}") if refused else (remedy, "")


def _remedy(line: Line, wanted: str, snapshot: Snapshot) -> Remedy | None:
    key = key_of(line.path)
    if line.path.startswith("link.links[") and line.path.endswith("].mtu") and wanted.isdecimal():
        return Remedy("link_mtu", {"link_mtu_links": {line.path[len("link.links[") : -len("].mtu")]: int(wanted)}})
    if line.path.startswith("platform.proxmox.options.") and wanted != ABSENT:
        return Remedy("pve_firewall", {"pve_firewall_options": {line.path.rpartition(".")[2]: _number(wanted)}})
    if not key or not line.path.endswith(".running") or wanted == ABSENT:
        return None
    writer = owners.writer(snapshot.platform, key)
    if writer and writer.option and wanted.isdecimal():
        return Remedy("pve_firewall", {"pve_firewall_options": {writer.option: int(wanted)}})
    if key == owners.CONNTRACK_MAX and wanted.isdecimal():
        return Remedy("conntrack_table", {"conntrack_table_max": int(wanted)})
    knob = snapshot.sysctl.knobs.get(key) if snapshot.sysctl else None
    at_boot = knob is not None and knob.configured is not None and knob.configured.value.split() == wanted.split()
    return Remedy("sysctl", {"sysctl_running" if at_boot else "sysctl_values": {key: _number(wanted)}})


def _by_hand(line: Line, wanted: str) -> str:
    if line.path.endswith(".configured"):
        now = line.now.rpartition(" (")[2].rstrip(")")
        if wanted == ABSENT:
            return f"take its line out of {now}"
        value, _, file = wanted.rpartition(" (")
        return f"have {key_of(line.path)} = {value} in {file.rstrip(')')} again"
    if wanted == ABSENT:
        return "by hand: nothing of it was there"
    return f"by hand: {'make it again' if line.now == ABSENT else f'it was {wanted}'}"


def _number(text: str) -> Any:
    return int(text) if text.isdecimal() else text
