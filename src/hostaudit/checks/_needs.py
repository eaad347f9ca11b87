"""What container networks need sysctls to be, and the lines of files that say otherwise. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit import writers
from hostaudit.checks import _drift

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hostaudit_agent.snapshot import Assignment, Owner, Sysctl

RP_FILTER = "net.ipv4.conf.all.rp_filter"


@dataclass(frozen=True, slots=True)
class Need:
    """What a program needs a key to be."""

    programs: tuple[str, ...]
    key: str
    wrong: frozenset[str]
    wanted: str
    why: str
    own: str = ""
    """Keys by which the program's own file shows, as a pattern."""
    packages: bool = False
    """Lines of packages count, too."""


NEEDS = (
    Need(
        ("cilium",),
        RP_FILTER,
        frozenset({"1"}),
        "0",
        "Cilium's packets leave and come back by different interfaces",
        own=r"net\.ipv4\.conf\.(lxc|cilium_)[^.]*\.rp_filter",
    ),
    Need(("calico",), RP_FILTER, frozenset({"2"}), "0 or 1", "Calico's agent refuses loose mode", packages=True),
    Need(
        ("kube-proxy", "cilium", "calico", "kube-router", "docker"),
        "net.ipv4.ip_forward",
        frozenset({"0"}),
        "1",
        "packets of pods and containers are routed",
    ),
    Need(
        ("kube-proxy", "docker"),
        "net.bridge.bridge-nf-call-iptables",
        frozenset({"0"}),
        "1",
        "Services are reached by rules that bridged packets have to pass",
    ),
)
PROGRAMS = frozenset(name for need in NEEDS for name in need.programs)


def contradictions(sysctl: Sysctl, here: Mapping[str, Owner]) -> Iterator[dict[str, Any]]:
    """Yield each line of a file that sets what a program of this host, by name, cannot work with."""
    for need in NEEDS:
        program = next((here[name] for name in need.programs if name in here), None)
        knob = sysctl.knobs.get(need.key)
        line = knob.configured if knob else None
        if program is None or knob is None or line is None or line.value.strip() not in need.wrong:
            continue
        if line.file.startswith(_drift.VENDOR) and not need.packages:
            continue
        yield {
            "key": need.key,
            "file": f"{line.file}:{line.line}",
            "value": line.value,
            "running": knob.running,
            "runs": knob.running in need.wrong,
            "program": program.name,
            "needed_by": _theirs(sysctl, need, knob.overridden) or program.evidence,
            "wanted": need.wanted,
            "why": need.why,
            "written_again": writer.when if (writer := writers.known(program.name, need.key)) else "",
        }


def _theirs(sysctl: Sysctl, need: Need, overridden: list[Assignment]) -> str:
    """Return the line by which the program, or somebody for it, asks for its value in a file; empty without one."""
    for line in reversed(overridden):
        if line.value.strip() in need.wanted.split(" or "):
            return f"{line.file}:{line.line}"
    if need.own:
        for key, knob in sysctl.knobs.items():
            line_ = knob.configured
            if line_ and re.fullmatch(need.own, key) and line_.value.strip() in need.wanted.split(" or "):
                return f"{line_.file}:{line_.line}"
    return ""
