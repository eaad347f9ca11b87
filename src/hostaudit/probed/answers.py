"""What ARP, path MTU, TLS and DNS probes heard. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Owner:
    """One answer to "who has this address": a MAC address, and how often it was heard."""

    mac: str
    replies: int


@dataclass(frozen=True, slots=True)
class Arp:
    """Who answers for an address on a segment of a vantage point."""

    vantage: str
    address: str
    interface: str = ""
    owners: tuple[Owner, ...] = ()
    asked: int = 0
    changes: int = 0
    """How often the MAC address changed from one answer or announcement to the next."""
    mine: bool = False
    """The vantage point has the address itself and was not asked."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Mtu:
    """The largest packet that gets from a vantage point to an address unfragmented."""

    vantage: str
    address: str
    verdict: str
    """``ok``, ``pmtud`` (a smaller path, and an ICMP error said so), ``local`` (this host's own route or interface
    limits it), ``black-hole``, ``no-answer`` or ``untried``."""
    mtu: int | None = None
    """Bytes of the largest packet that was answered, IP header included."""
    lost: int | None = None
    """Bytes of the smallest that was lost in silence."""
    local_mtu: int | None = None
    """What the kernel takes for the route."""
    said_by: str = ""
    """Who sent the ICMP error."""
    said_mtu: int | None = None
    segment: str = ""
    """The class of paths that this pair stands for."""
    echo: str = ""
    """``udp`` (by the agent at the far end) or ``icmp``."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tls:
    """What one server shows in a TLS handshake."""

    vantage: str
    target: str
    address: str
    port: int
    name: str
    """The name that was asked for (SNI)."""
    versions: tuple[str, ...] = ()
    """Versions that the server agrees to."""
    certificates: int | None = None
    """Sent in the handshake, the leaf included; ``None`` where this Python cannot tell."""
    chain: str = ""
    """``complete``, ``incomplete``, ``self-signed`` or ``unknown-issuer``."""
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    """Subject alternative names."""
    matches: bool | None = None
    """``name`` is one of them."""
    default: bool = False
    """The certificate is a proxy's own default one."""
    not_after: str = ""
    """RFC 3339."""
    days: float | None = None
    """Left until then; negative: expired."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Dns:
    """How a name server answers for one name."""

    vantage: str
    server: str
    name: str
    asked: int = 0
    times: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    """``A``, ``AAAA`` of the name with a dot, asked in parallel from one socket as the C library does -> milliseconds
    of each try; ``None``: no answer."""
    waited: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """``relative`` (as written, with search domains), ``absolute`` (with a dot) -> milliseconds of each lookup until
    both answers were there, or until it was given up; repetitions included."""
    queries: int = 0
    """Sent for one relative lookup, the last one."""
    rcodes: dict[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    error: str = ""
    wait: float = 5.0
    """Seconds after which that resolver asks again (resolv.conf, ``timeout``)."""
    refused: int | None = None
    """Entries that clashed in the vantage point's connection tracking meanwhile, and were refused; ``None``: not
    read, or nothing is tracked there."""
    port: int = 53

    @property
    def server_down(self) -> bool:
        """No query was answered at all."""
        return bool(self.asked) and all(time is None for times in self.times.values() for time in times)

    @property
    def lost_pairs(self) -> int:
        """Lookups of which one query was answered at once, and the other one only when it was asked again, or never.

        A type that is never answered is not lost: a server or a filter leaves it out.
        """
        silent = {kind for kind, times in self.times.items() if all(time is None for time in times)}
        heard = [times for kind, times in self.times.items() if kind not in silent]
        late = [[time is None or time >= self.wait * 1000 for time in pair] for pair in zip(*heard, strict=False)]
        return sum(any(pair) and not all(pair) for pair in late)
