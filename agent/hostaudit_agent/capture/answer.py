"""The contract of a capture between agent and controller, as ``snapshot`` is that of a reading."""

from __future__ import annotations

import struct

from hostaudit_agent.records import dataclass, field
from hostaudit_agent.snapshot import Snapshot  # noqa: TC001 - msgspec reads the annotations when it decodes

SCHEMA = "hostaudit.capture/1"
record = struct.Struct("!QHBBHHHII8s")
"""Nanoseconds since 1970, number of the port, packet type, length of the sender's link address, its type (ARPHRD), the
protocol, VLAN id + 1 (0: no tag), length on the wire from the network header, bytes that follow, the link address."""


@dataclass
class Heard:
    """What the sensor of one host heard."""

    seconds: float = 0.0
    packets: int = 0
    drops: int = 0
    """Frames that matched and found the queue full (PACKET_STATISTICS)."""
    ended: str = ""
    """``asked``, ``time``, ``packets`` or ``bytes``: what ended it. After the last two frames are missing."""
    ports: list[str] = field(default_factory=list)
    """Names of interfaces, in the order of the number in the records."""
    records: str = ""
    """Base64 of ``record`` with the bytes of each frame behind it."""
    cpu_ms: float = 0.0


@dataclass
class Capture:
    """The answer."""

    snapshot: Snapshot
    """Of ``SURFACES`` only; its differences are those of the time of the capture."""
    heard: Heard | None = None
    """``None``: it did not listen."""
    refused: str = ""
    """Why not, where it was asked to: ``needs CAP_NET_RAW``."""
    fdb: dict[str, str] = field(default_factory=dict)
    """MAC address -> bridge port that leads there."""
    schema: str = SCHEMA
