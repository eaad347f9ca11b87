"""The values of drift: a fact that differs, since when, by whom, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hostaudit.model import Remedy  # noqa: TC001 - msgspec reads the annotations

SCHEMA = "hostaudit.drift/1"
REACHED = "host.answers"
"""Pseudo-path of a host that does not answer: told once, as everything else."""
READABLE = "host.reads "
"""Begin of the pseudo-path of a surface that could not be compared."""


class Kind(StrEnum):
    """Against what a fact differs."""

    CONFIGURED = "configured"
    BASELINE = "baseline"
    COHORT = "cohort"
    LAST = "last"
    UNREAD = "unread"
    """Nothing is known: the host did not answer, or what is compared was not read."""


class By(StrEnum):
    """What brought a fact to its value, as far as it can be told."""

    CHANGE = "change"
    """A journaled change of hostaudit."""
    DAEMON = "daemon"
    """A program that writes it again."""
    REBOOT = "reboot"
    """It ran, was configured nowhere, and was lost with a boot."""
    PACKAGE = "package"
    """The package manager wrote or removed the file that decides."""
    UNRECORDED = "change-unrecorded"
    """Somebody or something else; the evidence is all that is known."""
    UNKNOWN = "unknown"
    """It is older than the history."""


@dataclass(frozen=True, slots=True)
class Against:
    """One comparison in which a fact differs."""

    kind: Kind
    value: str
    """What it should be there; ``absent`` where it should not be."""
    where: str = ""
    """``/etc/sysctl.d/90.conf:3``; ``19 of 20 like it``; the id of a run."""


@dataclass(frozen=True, slots=True)
class Since:
    """When a value came. Times are RFC 3339 in UTC; empty: before the first run that is stored."""

    first: str = ""
    """Start of the first run that saw it."""
    run: str = ""
    after: str = ""
    """Start of the last run that saw another value: it came between the two."""
    was: str = ""
    """That value."""
    until: str = ""
    """End of the first run that saw it."""


@dataclass(frozen=True, slots=True)
class Who:
    """What tells who it was."""

    by: By = By.UNKNOWN
    said: str = ""
    """One sentence: no more than is known."""
    evidence: tuple[str, ...] = ()
    change: str = ""
    """Id of the journaled change."""


@dataclass(frozen=True, slots=True)
class Line:
    """One fact of one host that drifted."""

    host: str
    path: str
    now: str
    against: tuple[Against, ...]
    since: Since = field(default_factory=Since)
    who: Who = field(default_factory=Who)
    owner: str = ""
    """What writes it again: ``pve-firewall, every 10 s; set it in ...``."""
    back: Remedy | None = None
    """The role, and the variables, that put it back."""
    back_how: str = ""
    """What else can be done, or why no role can."""
    new: bool = True
    """No drift run told it before."""
    returned: bool = False
    """It had drifted, and is back as it should be: news, and no drift."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the comparisons in which it differs."""
        return tuple(one.kind.value for one in self.against)


@dataclass(frozen=True, slots=True)
class Drift:
    """What one ``hostaudit drift`` found."""

    run: str
    at: str
    lines: tuple[Line, ...]
    hosts: int
    unstored: str = ""
    """Why this run could not be kept; empty where it was."""
    schema: str = SCHEMA

    @property
    def drifted(self) -> tuple[Line, ...]:
        """Return what differs now, known or not; without what is back, and what is not known."""
        return tuple(one for one in self.lines if not one.returned and one.kinds != (Kind.UNREAD.value,))

    @property
    def told(self) -> tuple[Line, ...]:
        """Return what is news."""
        return tuple(line for line in self.lines if line.new)
