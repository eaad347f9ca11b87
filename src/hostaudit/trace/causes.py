"""Why a host lost packets: the capture joined with the counters of its rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.checks import _hairpin, _invalid, _say
from hostaudit.trace.fates import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.trace.fates import Judged
    from hostaudit.trace.fleet import Node

LOST_IN_HOST = frozenset({Verdict.DROPPED, Verdict.ACK_LOST, Verdict.SYN_DROPPED})


@dataclass(frozen=True, slots=True)
class Cause:
    """What took the packets in one host."""

    sentence: str
    proven: bool
    """The rule's own counter, or conntrack's where it has none, moved by at least as much as was lost."""
    rule: str = ""
    packets: int = 0
    """Counted while the sensors listened."""
    invalid: int | None = None
    """What connection tracking of that host called INVALID in that time."""


def other_source(judged: Judged, nodes: Iterable[Node], lost: int) -> Cause | None:
    """Return the rule that made the answer come from another address; ``None`` where no host of the trace has it."""
    if judged.verdict is not Verdict.OTHER_SOURCE:
        return None
    sources = {frame.source for frame in judged.segments.syn_ack}
    for node in nodes:
        for way in _hairpin.ways(node.capture.snapshot) if node.capture else ():
            if way.to in sources:
                rule, taken = way.rule, way.rule.delta or 0
                text = f"{rule.backend} {rule.family} {rule.table} {rule.chain} {rule.index}: {rule.text}"
                counted = f" ({_say.plural(taken, 'connection')} meanwhile)" if taken else ""
                said = (
                    f"{node.name} translated {way.called} to {way.to} in {rule.chain}{counted} and not the source, so "
                    f"{way.to} answers {way.network} directly (check hairpin-client-ip-preserved)"
                )
                return Cause(said, taken >= lost, text, taken)
    return None


def cause(judged: Judged, node: Node | None, lost: int) -> Cause | None:
    """Return what took the packets of ``lost`` connections of one verdict; ``None`` where none was lost in a host."""
    if judged.verdict not in LOST_IN_HOST or node is None or node.capture is None:
        return None
    snapshot = node.capture.snapshot
    if judged.segment == "SYN":
        return Cause(
            "a new connection is never INVALID: a rule, rp_filter or the bridge of that host took it", proven=False
        )
    if snapshot.firewall is None or snapshot.link is None or snapshot.sysctl is None:
        why = next((u.reason for u in snapshot.unread if u.surface == "firewall"), "not read")
        return Cause(
            f"which rule took it is not known: the packet filter of {node.name} was not read ({why})", proven=False
        )
    drops = _invalid.examine(snapshot)
    delta = (snapshot.conntrack.delta if snapshot.conntrack else None) or {}
    if not drops.met:
        return Cause(f"no rule of {node.name} drops INVALID; look for what else drops there", proven=False)
    rule = drops.met[0]
    text = f"{rule.backend} {rule.family} {rule.table} {rule.chain} {rule.index}: {rule.text}"
    invalid = delta.get("invalid")
    if drops.moved < lost:
        moved = _say.plural(drops.moved, "packet")
        return Cause(f"{drops.chain} drops INVALID, but took only {moved} meanwhile", False, text, drops.moved, invalid)
    by = "" if drops.counted >= lost else ", by conntrack's statistics: the rule has no counter"
    return Cause(
        f"dropped by {drops.chain} as INVALID ({_say.plural(drops.moved, 'packet')} meanwhile{by})",
        True,
        text,
        drops.moved,
        invalid,
    )
