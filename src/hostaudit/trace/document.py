"""A whole trace as a value, and as the document that machines read (``hostaudit.trace/1``). Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.trace.connections import connections
from hostaudit.trace.fates import Context, Judged, Verdict
from hostaudit.trace.fleet import Node, nodes
from hostaudit.trace.frames import frames
from hostaudit.trace.groups import grouped, sentence
from hostaudit.trace.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.model import MappedGuest
    from hostaudit.trace.connections import Attempt
    from hostaudit.trace.groups import Group
    from hostaudit.trace.passages import Passage

SCHEMA = "hostaudit.trace/1"


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that a trace found."""

    target: str
    vantage: str
    started: str
    nodes: tuple[Node, ...]
    judged: tuple[Judged, ...]
    groups: tuple[Group, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> connections, in the order of the verdicts."""
        number = Counter(one.verdict for one in self.judged)
        return {verdict.value: number[verdict] for verdict in Verdict if number[verdict]}

    @property
    def summary(self) -> str:
        """The numbers in one sentence."""
        ok = sum(one.verdict.ok for one in self.judged)
        told = ", ".join(f"{number} {verdict}" for verdict, number in self.counts.items())
        return f"{len(self.judged)} connections, {ok} worked: {told or 'none was tried'}"

    def told(self) -> list[tuple[Group, str]]:
        """Return every group with its sentence."""
        return [(group, sentence(group, self.groups)) for group in self.groups]

    def sensors(self) -> list[tuple[str, int | str, int | str, str]]:
        """Return a row for each host: its name, frames heard, frames dropped, what else is to be said."""
        rows: list[tuple[str, int | str, int | str, str]] = []
        for node in self.nodes:
            heard = node.capture.heard if node.capture else None
            if heard is None:
                rows.append((node.name, "-", "-", f"no sensor: {node.deaf}"))
            else:
                rows.append((node.name, heard.packets, heard.drops, node.incomplete))
        return rows


def made(
    captures: Sequence[Node],
    guests: Sequence[MappedGuest],
    attempts: Sequence[Attempt],
    vip: str,
    port: int,
    *,
    target: str,
    vantage: str,
    started: str,
) -> Trace:
    """Judge every connection. Raises HostError where a capture is damaged."""
    known = nodes(captures, guests)
    by_name = {node.name: node for node in known}
    heard = [
        frame
        for node in known
        if node.capture and node.capture.heard
        for frame in frames(node.capture.heard, node.name)
    ]
    context = Context(
        by_name,
        vip,
        port,
        vantage if vantage in by_name else "",
        tuple(node.name for node in known if node.deaf),
        tuple(node.name for node in known if node.incomplete),
    )
    judged = tuple(judge(one, context) for one in connections(attempts, heard, vip, port))
    return Trace(target, vantage, started, known, judged, grouped(judged, by_name))


def document(trace: Trace) -> dict[str, Any]:
    """Return the JSON document; keys are only ever added."""
    return {
        "schema": SCHEMA,
        "target": trace.target,
        "vantage": trace.vantage,
        "started": trace.started,
        "counts": trace.counts,
        "groups": [
            {
                "verdict": group.verdict.value,
                "connections": len(group.members),
                "share": group.share,
                "ports": list(group.ports),
                "host": group.members[0].host,
                "segment": group.members[0].segment,
                "symmetric": group.members[0].symmetric,
                "sentence": told,
                "next": group.next,
                "cause": None
                if group.cause is None
                else {
                    "sentence": group.cause.sentence,
                    "proven": group.cause.proven,
                    "rule": group.cause.rule,
                    "packets": group.cause.packets,
                    "conntrack_invalid": group.cause.invalid,
                },
                "ways": {
                    "syn": _ways(group.members[0].syn),
                    "syn_ack": _ways(group.members[0].syn_ack),
                    "ack": _ways(group.members[0].ack),
                    "rst": _ways(group.members[0].reset),
                },
            }
            for group, told in trace.told()
        ],
        "connections": [
            {
                "source": one.segments.attempt.source,
                "source_port": one.segments.attempt.port,
                "outcome": one.segments.attempt.outcome,
                "retransmits": one.segments.attempt.retransmits,
                "verdict": one.verdict.value,
                "host": one.host,
                "segment": one.segment,
                "symmetric": one.symmetric,
                "reason": one.reason,
            }
            for one in trace.judged
        ],
        "hosts": [_host(node) for node in trace.nodes],
    }


def _ways(ways: Sequence[Passage]) -> list[dict[str, Any]]:
    return [
        {
            "host": passage.host,
            "entered": hop.entered,
            "left": hop.left,
            "tunnel": hop.tunnel,
            "for_itself": hop.here,
            "copies": passage.copies,
        }
        for passage in ways
        for hop in passage.hops
    ]


def _host(node: Node) -> dict[str, Any]:
    heard = node.capture.heard if node.capture else None
    if heard is None:
        return {"name": node.name, "status": "deaf", "reason": node.deaf}
    return {
        "name": node.name,
        "status": "incomplete" if node.incomplete else "ok",
        "reason": node.incomplete,
        "frames": heard.packets,
        "drops": heard.drops,
        "ended": heard.ended,
        "seconds": heard.seconds,
        "cpu_ms": heard.cpu_ms,
    }
