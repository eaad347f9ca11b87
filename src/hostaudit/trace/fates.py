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


_INVALID = (
    "Every hypervisor on both ways has to accept INVALID, not only this one; `hostaudit run --only "
    "conntrack-invalid-drop` says how."
)
NEXT = {
    Verdict.REFUSED: "See whether the service runs there and listens on that port.",
    Verdict.MIDDLEBOX_RESET: "Look for a rule with REJECT, or a proxy, on that host.",
    Verdict.REJECTED: "Look for a rule with REJECT, or a missing route, where the ICMP error came from.",
    Verdict.OTHER_SOURCE: "See the rule that translates: `hostaudit run --only hairpin-client-ip-preserved`.",
    Verdict.LOST_BEFORE: "Look before these hosts: who answers ARP (`hostaudit probe arp`), routes, VLANs, the switch.",
    Verdict.SYN_DROPPED: "Look at that host's filters and rp_filter: `hostaudit run` on it.",
    Verdict.LOST_BETWEEN: "Look between the two hosts: VLANs, a filter for the tunnel's port, `hostaudit probe mtu`.",
    Verdict.NO_SYN_ACK: "Look inside that guest: its firewall, rp_filter, whether the service listens.",
    Verdict.DROPPED: _INVALID,
    Verdict.LOST_AFTER: "Look between the last host and the client: the switch, the client's own firewall.",
    Verdict.ACK_LOST: _INVALID,
    Verdict.NO_DATA: "The network did its part: look at the application, and at what --send sent.",
    Verdict.INCONCLUSIVE: "Trace again with a larger --queue or --frames, or with -b for a sensor on every host.",
}
"""What to look at where connections failed like this; nothing for those that worked."""


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
