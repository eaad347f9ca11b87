"""What ``tcp`` is asked for, and what became of each connection."""

from __future__ import annotations

from hostaudit_agent.records import dataclass, field

PORTS = (61000, 64999)
"""Beside net.ipv4.ip_local_port_range (32768-60999) and Kubernetes' node ports (30000-32767)."""
OUTCOMES = ("ok", "no-answer", "refused", "unreachable", "silent", "reset", "closed", "unexpected", "local")
"""``no-answer``: to the SYN. ``unreachable``: an ICMP error, from ``Connection.origin``. ``silent``: connected, then
no answer. ``reset``, ``closed``: connected, then ended by the other side before what was expected came. ``unexpected``:
something else came. ``local``: it could not be tried here; says nothing about the target."""


@dataclass
class Target:
    """One address and port; no name is resolved here."""

    address: str
    """IPv4, or IPv6 without brackets; with ``%eth0`` where it is link-local."""
    port: int


@dataclass
class Request:
    """What to try. Times in seconds."""

    targets: list[Target]
    count: int = 120
    """Connections to each target."""
    interval: float = 0.15
    """From the beginning of one connection to a target to that of the next."""
    timeout: float = 2.0
    """For each of the two stages; above 1, so that one retransmission of the SYN is seen."""
    source: str = ""
    """Address to connect from; empty: the kernel chooses."""
    ports: list[int] = field(default_factory=lambda: list(PORTS))
    """First and last source port."""
    first: int = 0
    """Source port of the first connection to each target; 0: anywhere in ``ports``."""
    send: str = ""
    """Bytes to send once connected, as Latin-1 text."""
    expect: str = ""
    """Bytes that the reply has to contain, as Latin-1 text. With ``send`` alone any reply will do."""
    parallel: int = 200
    """Connections at a time, over all targets."""


@dataclass
class Connection:
    """What became of one connection."""

    target: int
    """Position in ``Request.targets``."""
    address: str
    port: int
    source: str = ""
    """Our address; empty where the connection was not even begun."""
    source_port: int = 0
    began: float = 0.0
    """Seconds since 1970, by this machine's clock: for people; match captures by ports instead."""
    outcome: str = ""
    """One of ``OUTCOMES``."""
    connect_ms: float | None = None
    """From the first SYN to the SYN-ACK."""
    data_ms: float | None = None
    """From then to the reply, or (within a tick) to the acknowledgement of our FIN."""
    retransmits: int = 0
    """Segments sent again, the SYN included."""
    errno: str = ""
    """The kernel's name: ``ECONNREFUSED``."""
    origin: str = ""
    """Address of who sent the ICMP error."""
