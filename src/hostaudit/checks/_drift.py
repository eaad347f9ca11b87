"""Sysctls that run otherwise than configured: which ones count, and what to say about them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit import owners
from hostaudit.checks import _links
from hostaudit.model import Remedy

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.owners import Writer
    from hostaudit_agent.snapshot import Knob, Sysctl

_INTERFACE = re.compile(r"net\.ipv[46]\.(?:conf|neigh)\.(?!all\.|default\.)(.+)\.[^.]+")
_LEFT_OUT = {"net.ipv4.conf.all.forwarding", "net.netfilter.nf_conntrack_buckets"}
"""Another name of ip_forward; a number that the kernel rounds."""
VENDOR = ("/usr/lib/", "/lib/")
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


def inside(view: View) -> bool:
    """Say whether the host is a container, or was read outside the kernel's first network namespace."""
    platform = view.snapshot.platform
    return platform is not None and (bool(platform.container) or platform.first_netns is False)


def late(view: View, key: str) -> bool:
    """Say whether a boot skips a configured key for want of its module; see ``sysctl-not-applied-at-boot``."""
    sysctl, name = view.snapshot.sysctl, module(key)
    if not name or sysctl is None or sysctl.modules_at_boot is None or inside(view):
        return False
    knob = sysctl.knobs.get(key)
    if knob is None or knob.configured is None or knob.configured.file.startswith(VENDOR):
        return False  # a package may set a key for whoever needs the module, as Proxmox VE's 10-pve.conf does
    unread = view.unread(f"sysctl.{key}")
    return not unread and name not in sysctl.modules_at_boot and not owners.writer(view.snapshot.platform, key)


def matters(sysctl: Sysctl, part: str) -> bool:
    """Say whether what was not read could have drifted: a file, or a key that a file sets."""
    return part == "configured" or (part in sysctl.knobs and sysctl.knobs[part].configured is not None)


def differs(view: View, key: str, knob: Knob) -> bool:
    """Say whether a configured knob runs otherwise, and it is this host's business (see the check's page)."""
    assert knob.configured is not None  # noqa: S101 - the caller looked
    platform = view.snapshot.platform
    writer = owners.writer(platform, key)
    if key in _LEFT_OUT or (key == owners.CONNTRACK_MAX and writer) or late(view, key):
        return False
    if knob.running is None:
        return module(key) != "" and not inside(view) and not view.unread(f"sysctl.{key}")
    if not knob.writable or knob.running.split() == knob.configured.value.split():
        return False
    if writer and writer.option and owners.option(platform, writer.option) == knob.running:
        return False  # host.fw was asked, and obeyed: the line of sysctl.d is a leftover
    named = _INTERFACE.fullmatch(key)
    return named is None or _own_line(view, key, knob, named[1].replace("/", "."))


def _own_line(view: View, key: str, knob: Knob, interface: str) -> bool:
    """Say whether a line sets this interface's key alone, and the interface is a real one."""
    sysctl, table = view.snapshot.sysctl, view.snapshot.link
    assert sysctl is not None  # noqa: S101 - reads
    link = _links.named(table, interface) if table else None
    shared = any(other.configured == knob.configured for name, other in sysctl.knobs.items() if name != key)
    return not shared and (link is None or link.kind in _links.SEGMENT_KINDS)


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
    if fact.writer and not fact.writer.place:
        return f"{fact.writer.name} writes {key} {fact.writer.when}, always the same: drop the line of {fact.place}."
    if fact.writer:
        return f"{fact.writer.name} writes {key} {fact.writer.when}: set it in {fact.writer.place}."
    if fact.running is None:
        return (
            f"{name} is loaded after systemd-sysctl ran, if at all, and its lines are skipped: "
            f"`echo {name} > /etc/modules-load.d/{name}.conf`."
        )
    return "To keep what runs, write it to the file; to go back to the file, `sysctl -w` that key alone."
