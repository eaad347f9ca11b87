"""What a report may show beside a run: rates over time, changes, drift, probes, the path of a handshake.

All of it is optional. Whoever knows it fills in these values; a report shows what is there and says nothing of the
rest. They are also a file, schema ``hostaudit.context/1``, for ``hostaudit report RUN --context FILE``. Times are
RFC 3339, in UTC. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT_SCHEMA = "hostaudit.context/1"


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series; ``None``: it was not read then."""

    time: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """A value of one host over time, oldest first."""

    host: str
    name: str
    """In a few words: ``conntrack use``, ``INVALID dropped``."""
    unit: str
    """``%``, ``packets/s``"""
    points: tuple[Point, ...]
    limit: float | None = None
    """Where it ends or is judged: 100 for a table's use in percent."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a host, or to several."""

    time: str
    what: str
    """A sentence: ``pve_firewall: nf_conntrack_allow_invalid 0 -> 1``."""
    kind: str = "change"
    """``change``, ``rollback``, ``reboot``, ``unrecorded`` (nobody's journal has it) or ``note``."""
    hosts: tuple[str, ...] = ()
    """Empty: all."""
    who: str = ""
    id: str = ""
    """The change's, for ``hostaudit show``."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """A value that is not what it was, what is configured, what was accepted, or what its peers have."""

    host: str
    what: str
    """The setting: ``net.ipv4.conf.all.rp_filter``."""
    kind: str
    """``configured``, ``baseline``, ``cohort``, ``last run``, or several with commas: what it is compared with."""
    was: str
    now: str
    since: str = ""
    who: str = ""
    owner: str = ""
    back: str = ""
    """How to put it back, or accept it."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What one vantage point saw of one target."""

    vantage: str
    target: str
    verdict: str
    """``ok``, ``path-dependent``, ``down``; anything else is shown as not known."""
    attempts: str = ""
    """One character per attempt, ``+`` for a handshake and ``-`` for none."""
    note: str = ""
    """``odd source ports fail``; ``p95 3 ms``"""


@dataclass(frozen=True, slots=True)
class Hop:
    """A place that a packet passed, or should have."""

    host: str
    port: str
    packet: str
    """``SYN``, ``SYN-ACK``"""
    seen: bool | None
    """``None``: nobody looked there."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Traced:
    """Where the packets of one kind of handshake went."""

    title: str
    """``10.0.0.10, odd ports > 10.0.0.100:8080``"""
    verdict: str
    sentence: str
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything beside a run."""

    series: tuple[Series, ...] = ()
    events: tuple[Event, ...] = ()
    drift: tuple[Drifted, ...] = ()
    probes: tuple[Probed, ...] = ()
    traces: tuple[Traced, ...] = ()
    schema: str = CONTEXT_SCHEMA


NOTHING = Context()
