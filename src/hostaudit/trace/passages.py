"""How one segment of a connection went through the hosts. Pure.

Only ports count at which a frame enters or leaves a host (guests, uplinks, tunnels). A frame that came in by one and
left by none was lost inside, whatever the bridge between them showed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.trace.fleet import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.trace.fleet import Node
    from hostaudit.trace.frames import Frame


@dataclass(frozen=True, slots=True)
class Hop:
    """One way through a host."""

    entered: str
    """Port; empty: the host sent it itself."""
    left: str
    """Port; empty: it did not leave."""
    tunnel: str = ""
    ttl: int = 0
    inner: str = ""
    """The last port inside the host that saw it, where it did not leave."""
    here: bool = False
    """It is for the host itself."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment's way through one host."""

    node: Node
    hops: tuple[Hop, ...]
    copies: int
    """How often the host saw it come, retransmissions included; or leave, where it sent it itself."""

    @property
    def host(self) -> str:
        """The host's name."""
        return self.node.name

    @property
    def stuck(self) -> Hop | None:
        """The hop on which it was lost; ``None`` where it was not lost here."""
        return next((hop for hop in self.hops if hop.entered and not hop.left and not hop.here), None)

    @property
    def made(self) -> bool:
        """The host sent it."""
        return any(not hop.entered for hop in self.hops)

    @property
    def taken(self) -> bool:
        """It was for the host itself."""
        return any(hop.here for hop in self.hops)

    @property
    def from_guest(self) -> str:
        """The guest's port by which it came, plain; empty where none."""
        roles = self.node.roles()
        ports = [hop.entered for hop in self.hops if hop.entered and not hop.tunnel]
        return next((p for p in ports if roles.get(p, role_of(p)) is Role.GUEST), "")

    @property
    def to_guest(self) -> str:
        """The last guest's port by which it left; empty where none."""
        roles = self.node.roles()
        ports = [hop.left for hop in self.hops if hop.left]
        return next((p for p in reversed(ports) if roles.get(p, role_of(p)) is Role.GUEST), "")

    @property
    def forwarded(self) -> bool:
        """The host's connection tracking saw it pass: in and out, and not inside a tunnel."""
        return any(hop.entered and hop.left and not hop.tunnel for hop in self.hops)

    @property
    def left_by_uplink(self) -> str:
        """The port towards the network by which it last left; empty where none."""
        roles = self.node.roles()
        ports = [hop.left for hop in self.hops if hop.left]
        return next((p for p in reversed(ports) if roles.get(p, role_of(p)) is not Role.GUEST), "")


def passages(frames: Sequence[Frame], nodes: Mapping[str, Node]) -> list[Passage]:
    """Return the ways of one segment, given all frames that are it, in the order of its TTLs and tunnels."""
    by_host: dict[str, list[Frame]] = {}
    for frame in frames:
        by_host.setdefault(frame.host, []).append(frame)
    found = [_passage(sorted(mine, key=lambda f: f.order), nodes[host]) for host, mine in by_host.items()]
    found = [passage for passage in found if passage.hops]
    return sorted(found, key=lambda p: (not p.made, bool(p.hops[0].tunnel), -p.hops[0].ttl, p.host))


def _passage(frames: Sequence[Frame], node: Node) -> Passage:
    """Pair what came in with what went out. A copy that took the same way before is not told again."""
    roles = node.roles()
    hops: list[Hop] = []
    came: Frame | None = None
    inner = ""
    counted: dict[tuple[str, bool, str], int] = {}
    for frame in frames:
        if roles.get(frame.device, role_of(frame.device)) is Role.INSIDE:
            inner = frame.device if came is not None else ""
            continue
        key = (frame.device, frame.out, frame.tunnel)
        counted[key] = counted.get(key, 0) + 1
        if not frame.out:
            if came is not None and (came.device, came.tunnel) != (frame.device, frame.tunnel):
                hops.append(_lost(came, node, inner))
            came, inner = frame, ""
        elif came is not None:
            hops.append(Hop(came.device, frame.device, came.tunnel or frame.tunnel, came.ttl))
            came = None
        elif not hops or all(hop.left != frame.device for hop in hops):
            after = hops[-1] if hops else None
            # what a tunnel's device sends leaves once more, encapsulated, by the port below it
            if after and after.left and roles.get(after.left) is Role.TUNNEL:
                hops[-1] = Hop(after.entered, frame.device, frame.tunnel, after.ttl)
            elif after is None or not after.entered:
                hops.append(Hop("", frame.device, frame.tunnel, frame.ttl))
            else:  # a second copy of what came once: flooded, or bonded below
                hops.append(Hop(after.entered, frame.device, frame.tunnel or after.tunnel, after.ttl))
    if came is not None:
        hops.append(_lost(came, node, inner))
    passed = {(hop.entered, hop.tunnel) for hop in hops if hop.left}
    kept = [hop for hop in dict.fromkeys(hops) if hop.left or (hop.entered, hop.tunnel) not in passed]
    first = next(iter(counted.values()), 1)
    return Passage(node, tuple(kept), first)


def _lost(frame: Frame, node: Node, inner: str) -> Hop:
    """Return the hop of a frame that did not leave; for the host itself it did not have to."""
    return Hop(frame.device, "", frame.tunnel, frame.ttl, inner, here=_mine(frame, node))


def _mine(frame: Frame, node: Node) -> bool:
    if frame.tunnel:  # the outer header decides, which is not kept: where the tunnel ends, its device is in this host
        return any(role is Role.TUNNEL for role in node.roles().values())
    return frame.target in node.addresses
