"""What to say about sysctls that run otherwise than configured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.owners import Writer

_MODULES = {"net.netfilter.": "nf_conntrack", "net.bridge.": "br_netfilter"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One sysctl that drifted."""

    running: str | None
    configured: str
    place: str
    """``FILE:LINE``, or host.fw."""
    writer: Writer | None

    def as_evidence(self) -> dict[str, Any]:
        """Return it as data."""
        writer = f"{self.writer.name}, {self.writer.when}" if self.writer else ""
        return {"running": self.running, "configured": self.configured, "at": self.place, "writer": writer}


def module(key: str) -> str:
    """Return the module that brings the key; empty for those that every kernel has."""
    return next((name for prefix, name in _MODULES.items() if key.startswith(prefix)), "")


def summary(drifted: dict[str, Fact]) -> str:
    """Return one sentence that fits a line of the report."""
    if not drifted:
        return "/etc/sysctl.conf sets values, and nothing reads it at boot"
    key, fact = next(iter(drifted.items()))
    short = key.rpartition(".")[2] if len(key) > 30 else key
    if len(drifted) > 1:
        return f"{len(drifted)} sysctls run otherwise than configured: {short}, ..."
    if fact.running is None:
        return f"{short} is configured, and {module(key)} is not loaded"
    return f"{short} runs {fact.running[:16]}, configured is {fact.configured[:16]}"


def remedy(drifted: dict[str, Fact]) -> Remedy | None:
    """Return what host.fw has to say for those that the Proxmox firewall writes; the others have no owner to ask."""
    options = {
        fact.writer.option: int(fact.configured)
        for fact in drifted.values()
        if fact.writer and fact.writer.option and fact.configured.isdecimal()
    }
    return Remedy("pve_firewall", {"pve_firewall_options": options}) if options else None


def advice(view: View, drifted: dict[str, Fact], *, dead: bool) -> str:
    """Return what can be done about each of them; what holds for several is said once."""
    parts = dict.fromkeys(_one(key, fact) for key, fact in drifted.items())
    late = {module(key) for key, fact in drifted.items() if not fact.writer and fact.running is not None} - {""}
    for name in sorted(late):
        parts[f"If nobody set it by hand: {name} came after systemd-sysctl; name it in /etc/modules-load.d."] = None
    if dead:
        parts["Move the lines of /etc/sysctl.conf to a file in /etc/sysctl.d, whose name ends in .conf."] = None
    if drifted and owners.present(view.snapshot.platform, "tuned"):
        parts["tuned is here and its profile may have set the value: `tuned-adm verify` tells."] = None
    return " ".join(parts)


def _one(key: str, fact: Fact) -> str:
    name = module(key)
    if fact.writer and fact.writer.name == "pve-firewall" and key.endswith(owners.PVE_UNWRITTEN):
        return (
            f"pve-firewall reads {owners.PVE_UNWRITTEN} under a misspelt name and, once the option is set, writes "
            f"nothing: set {key}={fact.configured} in /etc/sysctl.d."
        )
    if fact.writer:
        return f"{fact.writer.name} writes {key} {fact.writer.when}: set it in {fact.writer.place}."
    if fact.running is None:
        return (
            f"{name} is loaded after systemd-sysctl ran, if at all, and its lines are skipped: "
            f"`echo {name} > /etc/modules-load.d/{name}.conf`."
        )
    return "To keep what runs, write it to the file; to go back to the file, `sysctl -w` that key alone."
