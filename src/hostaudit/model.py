"""The values that flow between the stages. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hostaudit_agent.snapshot import Snapshot  # noqa: TC001 - msgspec reads the annotations when it decodes

RUN_SCHEMA = "hostaudit.run/1"


class Status(StrEnum):
    """What a check says about a host."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NA = "n/a"


class Grade(StrEnum):
    """How sure a failed check is that packets are lost now."""

    RISK = "risk"
    """The configuration allows the fault."""
    ACTIVE = "active"
    """A counter moved between the samples, a probe failed, or a capture saw it."""


class Severity(StrEnum):
    """How bad it is if it happens; ordered by ``rank``."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 4 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the inventory: its name, where it belongs, and every variable that Ansible gives it."""

    name: str
    groups: tuple[str, ...] = ()
    """All groups it is in, parents included, without ``all`` and ``ungrouped``; sorted."""
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def asymmetric(self) -> str:
        """Why replies may take another path here (``hostaudit_asymmetric``); empty when nobody said so."""
        reason = self.variables.get("hostaudit_asymmetric", "")
        if isinstance(reason, bool):
            return "declared in the inventory" if reason else ""
        return str(reason).strip()

    @property
    def vips(self) -> dict[str, tuple[str, ...]]:
        """Virtual addresses that guests answer for (``hostaudit_vips``) -> the guests that do, where they are named.

        A list or ``10.0.0.100,10.0.0.101``; or a table, address -> names or VMIDs: ``{"10.0.0.100": "worker1,102"}``.
        An address may have a port, ``10.0.0.100:443`` or ``[2001:db8::1]:443``, which probes use; here it is left out.
        """
        given = self.variables.get("hostaudit_vips", ())
        pairs = given.items() if isinstance(given, dict) else ((address, ()) for address in _words(given))
        return {bare: _words(guests) for address, guests in pairs if (bare := _without_port(str(address).strip()))}

    @property
    def cohort(self) -> str:
        """The hosts that should be alike: ``hostaudit_cohort``, else the first group by name, else ``all``."""
        given = str(self.variables.get("hostaudit_cohort", "")).strip()
        return given or (self.groups[0] if self.groups else "all")


def _without_port(text: str) -> str:
    """Return an address without its port; IPv6 has one in brackets only."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _words(given: Any) -> tuple[str, ...]:
    """Return a list, or a text with commas, as words."""
    parts = given if isinstance(given, list | tuple) else str(given).split(",")
    return tuple(word for part in parts if (word := str(part).strip()))


@dataclass(frozen=True, slots=True)
class Remedy:
    """The role and the variables that would bring this host to the wanted state."""

    role: str
    vars: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to end a finding than its remedy, with what it costs. A person chooses; no role does it."""

    name: str
    """A few words: ``NOTRACK for the address``."""
    how: str
    """Commands or settings, exactly."""
    cost: str
    """What it gives up, and what it leaves as it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one host (or, for a cohort, several)."""

    status: Status
    summary: str
    """One sentence, with the numbers."""
    grade: Grade | None = None
    severity: Severity = Severity.INFO
    evidence: dict[str, Any] = field(default_factory=dict)
    reproduce: str = ""
    """A shell command that shows the same thing on that host."""
    disproof: str = ""
    """What one would have to see for this finding to be wrong."""
    owner: str = ""
    """What writes the knob again, or empty where nothing does."""
    remedy: Remedy | None = None
    advice: str = ""
    alternatives: tuple[Alternative, ...] = ()
    cause: str = ""
    """Findings of one check with the same cause are one line of the report; by default the summary."""
    check: str = ""
    host: str = ""
    hosts: tuple[str, ...] = ()
    netns: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """A host that answered."""

    host: Host
    snapshot: Snapshot
    seconds: float


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A host that could not be audited, and why, in a sentence for people."""

    host: Host
    kind: str
    """``connect``, ``timeout``, ``host-key``, ``auth``, ``sudo``, ``python``, ``output``, ``agent``, ``inventory``"""
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class HostReport:
    """One line of ``hosts`` in a run."""

    name: str
    status: str
    """``ok``, ``partial`` (something could not be read) or ``unreachable``."""
    reason: str = ""
    kernel: str = ""
    platform: str = ""
    collect_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MappedNic:
    """An interface of a guest, and the port by which its hypervisor meets it."""

    name: str
    """``net0``"""
    mac: str
    bridge: str
    tag: int | None = None
    firewall: bool = False
    """``firewall=1``"""
    filtered: bool = False
    """The guest's own rules apply to it."""
    port: str = ""
    """``tap101i0``, ``veth101i0``; empty while the guest does not run."""
    mtu: int | None = None
    """Bytes, of the port."""


@dataclass(frozen=True, slots=True)
class MappedGuest:
    """A guest of a hypervisor, and the host of the inventory that it is."""

    hypervisor: str
    vmid: int
    kind: str
    """``qemu`` or ``lxc``."""
    name: str
    running: bool | None
    """``None``: the hypervisor's interfaces were not read."""
    nics: tuple[MappedNic, ...] = ()
    host: str = ""
    """The host's name in the inventory; empty where it is none."""
    by: str = ""
    """How that was told: ``MAC address``, ``address`` or ``name``."""
    vips: tuple[str, ...] = ()
    """Virtual addresses of the inventory that it carries, by declaration or on one of its interfaces."""


@dataclass(frozen=True, slots=True)
class Waived:
    """A finding that the policy waives: it is counted and shown, and fails nothing."""

    finding: Finding
    reason: str
    expires: str
    """The last day, ``2027-03-31``."""
    place: str
    """Where the waiver is written: ``hostaudit.toml:12``."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A finding that explains others of the same host."""

    finding: Finding
    symptoms: tuple[Finding, ...]
    why: str
    """How they belong together, in a sentence."""


@dataclass(frozen=True, slots=True)
class Run:
    """One audit, whole: what the reports are made from. Times are RFC 3339 in UTC."""

    id: str
    started: str
    finished: str
    version: str
    hosts: tuple[HostReport, ...]
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    guests: tuple[MappedGuest, ...] = ()
    """Which hypervisor carries what; empty where no Proxmox node answered."""
    causes: tuple[Cause, ...] = ()
    """Which of ``findings`` belong together."""
    waived: tuple[Waived, ...] = ()
    """Findings that the policy waives; none of them is in ``findings``."""
    notices: tuple[str, ...] = ()
    """What the policy's author should know: waivers that expired."""
    schema: str = RUN_SCHEMA


# ---- changes ----------------------------------------------------------------------------------------------------

PLAN_SCHEMA = "hostaudit.plan/1"


@dataclass(frozen=True, slots=True)
class KnobChange:
    """One setting that a change moves."""

    knob: str
    """``net.netfilter.nf_conntrack_max``; ``host.fw nf_conntrack_allow_invalid``; ``mtu vmbr0``; ``mss wg0``"""
    running: str | None
    configured: str | None
    then: str


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One role on one host. It rests on facts; where one of them no longer holds, it is not made."""

    id: str
    """Unique in its plan: ``pve1/pve_firewall``."""
    host: str
    cohort: str
    checks: tuple[str, ...]
    """The findings that it is to close."""
    owner: str
    role: str
    vars: dict[str, Any]
    knobs: tuple[KnobChange, ...]
    seconds: int
    """Expected duration, verification included."""
    undo_seconds: int
    risk: str
    """What the change costs or endangers: the checks' "Fix safety"."""
    proof: str
    """What has to be seen afterwards for the change to count."""
    facts: dict[str, str]
    """Path into the snapshot (``sysctl.knobs.net.core.somaxconn.running``) -> SHA-256 of its canonical JSON."""
    values: dict[str, Any] = field(default_factory=dict)
    """The same paths -> what was there, so that a refusal can say what changed; the digests decide."""
    alternatives: tuple[Alternative, ...] = ()
    """What could be done instead, of the findings that it is to close."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A finding that the plan does not act on, and why; ``advice`` has the exact text where somebody else owns it."""

    host: str
    check: str
    reason: str
    advice: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that a person reviews and ``apply`` executes, and no others."""

    id: str
    created: str
    version: str
    run: str
    """The id of the run that it was made from."""
    inventory: tuple[str, ...]
    limit: str
    changes: tuple[PlannedChange, ...]
    declined: tuple[Declined, ...]
    schema: str = PLAN_SCHEMA
