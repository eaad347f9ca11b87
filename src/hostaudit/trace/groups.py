"""Connections with the same fate on the same way are one line. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.trace.causes import Cause, cause, other_source
from hostaudit.trace.fates import NEXT, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.trace.fates import Judged
    from hostaudit.trace.fleet import Node
    from hostaudit.trace.passages import Passage


@dataclass(frozen=True, slots=True)
class Group:
    """Connections that went the same way and ended alike."""

    members: tuple[Judged, ...]
    share: str
    """``10 of 10 odd ports``, ``3 of 20 connections``."""
    cause: Cause | None

    @property
    def verdict(self) -> Verdict:
        """Of all of them."""
        return self.members[0].verdict

    @property
    def next(self) -> str:
        """What to look at; empty where nothing failed, or nobody can say."""
        if self.verdict in {Verdict.DROPPED, Verdict.ACK_LOST} and (self.cause is None or not self.cause.proven):
            return "Look at that host's filters and queues: `hostaudit run` on it."
        return NEXT.get(self.verdict, "")

    @property
    def ports(self) -> tuple[int, ...]:
        """The client's ports."""
        return tuple(one.segments.attempt.port for one in self.members)


def grouped(judged: Sequence[Judged], nodes: Mapping[str, Node]) -> tuple[Group, ...]:
    """Return the groups, failures first, then the largest."""
    found: dict[tuple[object, ...], list[Judged]] = {}
    for one in judged:
        key: tuple[object, ...] = (one.verdict, one.host, one.segment, _shape(one.syn), _shape(one.syn_ack))
        if one.verdict in {Verdict.INCONCLUSIVE, Verdict.RETRANSMIT}:
            key = (one.verdict, one.reason)
        found.setdefault(key, []).append(one)
    every = [one.segments.attempt.port for one in judged]
    lost: dict[str, int] = {}
    for members in found.values():
        lost[members[0].host] = lost.get(members[0].host, 0) + len(members)
    groups = [
        Group(
            tuple(m),
            _share([one.segments.attempt.port for one in m], every),
            cause(m[0], nodes.get(m[0].host), len(m)) or other_source(m[0], nodes.values(), len(m)),
        )
        for m in found.values()
    ]
    return tuple(sorted(groups, key=lambda g: (g.verdict.ok, -len(g.members), g.ports)))


def sentence(group: Group, others: Sequence[Group]) -> str:
    """Return the whole story of a group in one sentence."""
    one = group.members[0]
    parts = [_request(one)] if one.syn else []
    parts.append(one.reason.replace("the SYN-ACK entered", "its SYN-ACK entered"))
    told = ", ".join(part for part in parts if part)
    why = f": {group.cause.sentence}" if group.cause else ""
    text = f"{told}{why}, {group.share}"
    passed = [other for other in others if other.verdict.ok]
    if not group.verdict.ok and passed:
        kinds = "; ".join(f"{other.share} passed ({_way(other)})" for other in passed)
        text += f"; {kinds}"
    return f"{text[:1].upper()}{text[1:]}."


def _request(one: Judged) -> str:
    """Say how the SYN got to whoever had to answer; empty where the reason tells it already."""
    if one.segment == "SYN" and one.verdict is not Verdict.NO_SYN_ACK:
        return ""
    told: list[str] = []
    for passage in one.syn:
        node = passage.node
        for hop in passage.hops:
            if hop.entered and hop.left and not hop.tunnel and not told:
                to = f"port of {node.behind(hop.left)}" if passage.to_guest == hop.left else hop.left
                told.append(f"SYN entered {passage.host} ({hop.entered} -> {to})")
            elif hop.tunnel and hop.left and hop.left == passage.to_guest:
                told.append(f"was handed to {node.behind(hop.left)} on {passage.host} in {hop.tunnel}")
    return ", ".join(told)


def _way(group: Group) -> str:
    symmetric = group.members[0].symmetric
    return "path not seen" if symmetric is None else "symmetric" if symmetric else "asymmetric"


def _shape(ways: Sequence[Passage]) -> tuple[object, ...]:
    return tuple((p.host, tuple((h.entered, h.left, h.tunnel, h.here) for h in p.hops)) for p in ways)


def _share(mine: Sequence[int], every: Sequence[int]) -> str:
    for name, remainder in (("odd", 1), ("even", 0)):
        of_class = [port for port in every if port % 2 == remainder]
        if len(of_class) < len(every) and all(port % 2 == remainder for port in mine) and len(every) > 1:
            return f"{len(mine)} of {len(of_class)} {name} ports"
    return f"{len(mine)} of {len(every)} connections"
