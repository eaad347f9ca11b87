"""The connections that the probe made, each with the frames that are its segments. Pure.

The key is the client's port: every connection of a probe has its own, and the sensors hear no other ports. Of several
SYNs from one port, the one whose address and target are the probe's is meant; where a translation changed both, the
sequence number still tells the segments of one connection apart from older ones.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostaudit.trace.frames import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostaudit.trace.frames import Frame

MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the probe says of one connection."""

    source: str
    port: int
    """Of the client."""
    outcome: str
    """As ``hostaudit_agent.probe.tcp.OUTCOMES``."""
    retransmits: int = 0
    origin: str = ""
    """Who sent the ICMP error."""

    @property
    def connected(self) -> bool:
        """The SYN-ACK arrived."""
        return self.outcome not in {"no-answer", "refused", "unreachable", "local"}


@dataclass(slots=True)
class Segments:
    """The frames of one connection by what they are."""

    attempt: Attempt
    syn: list[Frame] = field(default_factory=list)
    syn_ack: list[Frame] = field(default_factory=list)
    """Those that acknowledge this SYN, whatever their source."""
    reset: list[Frame] = field(default_factory=list)
    """Towards the client, in reply to the SYN."""
    client: list[Frame] = field(default_factory=list)
    """What the client sent after the SYN-ACK, but resets."""
    server: list[Frame] = field(default_factory=list)
    """What came back after the SYN-ACK."""


def connections(attempts: Sequence[Attempt], frames: Iterable[Frame], vip: str, port: int) -> list[Segments]:
    """Return the connections in the order of ``attempts``."""
    towards: dict[int, list[Frame]] = defaultdict(list)
    back: dict[int, list[Frame]] = defaultdict(list)
    ports = {attempt.port for attempt in attempts}
    for frame in frames:
        if frame.sport in ports and not (frame.dport in ports and frame.source == vip):
            towards[frame.sport].append(frame)
        elif frame.dport in ports:
            back[frame.dport].append(frame)
    return [_sorted(one, towards[one.port], back[one.port], vip, port) for one in attempts]


def _sorted(attempt: Attempt, towards: Sequence[Frame], back: Sequence[Frame], vip: str, port: int) -> Segments:
    segments = Segments(attempt)
    syns = [f for f in towards if f.flags & SYN and not f.flags & ACK]
    exact = [f for f in syns if (f.source, f.target, f.dport) == (attempt.source, vip, port)]
    if not syns:
        return segments
    first = (exact or syns)[-1].seq
    segments.syn = [f for f in syns if f.seq == first]
    after = (first + 1) % MODULUS
    for frame in back:
        if frame.flags & ACK and frame.ack == after and frame.flags & SYN:
            segments.syn_ack.append(frame)
        elif frame.flags & RST and frame.flags & ACK and frame.ack == after and frame.seq == 0:
            segments.reset.append(frame)  # RFC 9293, 3.5.2: a reset in reply to a SYN has sequence number 0
        elif _within(frame.ack, after):
            segments.server.append(frame)
    for frame in towards:
        if not frame.flags & (SYN | RST) and frame.flags & (ACK | FIN) and _within(frame.seq, after):
            segments.client.append(frame)
    return segments


def _within(number: int, first: int) -> bool:
    """Say whether a sequence number is of this connection: at or up to 1 MiB behind its first."""
    return (number - first) % MODULUS < 1 << 20
