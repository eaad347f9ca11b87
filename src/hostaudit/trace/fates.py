"""What a connection's fate can be, and what is known of it once it is judged. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.trace.connections import Segments
    from hostaudit.trace.fleet import Node
    from hostaudit.trace.passages import Passage


class Verdict(StrEnum):
    """What became of a connection."""

    OK_SYMMETRIC = "ok-symmetric"
    OK_ASYMMETRIC = "ok-asymmetric"
    RETRANSMIT = "retransmit"
    """Complete, but only after a segment had been sent again."""
    REFUSED = "refused"
    MIDDLEBOX_RESET = "middlebox-reset"
    REJECTED = "rejected"
    """An ICMP error ended it."""
    OTHER_SOURCE = "reply-from-other-source"
    LOST_BEFORE = "syn-lost-before-fleet"
    SYN_DROPPED = "syn-dropped-in-host"
    LOST_BETWEEN = "syn-lost-between-hosts"
    NO_SYN_ACK = "no-syn-ack"
    DROPPED = "dropped-in-host"
    LOST_AFTER = "lost-after-fleet"
    ACK_LOST = "ack-lost"
    NO_DATA = "no-answer-to-data"
    INCONCLUSIVE = "inconclusive"
    UNTRIED = "untried"

    @property
    def ok(self) -> bool:
        """The connection worked."""
        return self in {Verdict.OK_SYMMETRIC, Verdict.OK_ASYMMETRIC, Verdict.RETRANSMIT}


@dataclass(frozen=True, slots=True)
class Judged:
    """One connection, judged."""

    segments: Segments
    verdict: Verdict
    reason: str
    """A sentence."""
    host: str = ""
    """Where it was lost or ended; empty where no host of the trace is to blame."""
    segment: str = ""
    """Which one: ``SYN``, ``SYN-ACK``, ``ACK``, ``reply``."""
    symmetric: bool | None = None
    """The same hosts forwarded SYN and SYN-ACK; ``None`` where it could not be seen."""
    syn: tuple[Passage, ...] = ()
    syn_ack: tuple[Passage, ...] = ()
    ack: tuple[Passage, ...] = ()
    reset: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What all connections of a trace share."""

    nodes: Mapping[str, Node]
    vip: str
    port: int
    client: str = ""
    """The host that probed; empty: it is none of the trace."""
    deaf: tuple[str, ...] = field(default=())
    """Hosts without a sensor."""
    incomplete: tuple[str, ...] = field(default=())
    """Hosts whose sensor missed frames."""
