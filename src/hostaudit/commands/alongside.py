"""What probes and a trace saw, as a report shows it beside a run. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hostaudit.probe import say
from hostaudit.report.page.context import NOTHING, Context, Hop, Probed, Traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.probed import Probes, Series
    from hostaudit.trace.document import Trace
    from hostaudit.trace.fates import Judged

MARKS = {"ok": "+", "local": ""}
"""Of an attempt; any other outcome is ``-``."""


def with_probes(context: Context | None, probes: Probes | None) -> Context | None:
    """Add the handshakes of each vantage point with each address of each target, where probes were sent."""
    return replace(context or NOTHING, probes=tuple(_probed(one) for one in probes.tcp)) if probes else context


def _probed(one: Series) -> Probed:
    target = one.target if one.address in one.target else f"{one.target} ({one.address})"
    notes = say.series(one)
    if times := one.percentiles:
        notes.append(f"p95 {say.milliseconds(times['p95'])}")
    strip = "".join(MARKS.get(each.outcome, "-") for each in one.tries)
    return Probed(
        one.vantage,
        f"{one.host}, {target}" if one.host else target,
        one.verdict.value if one.judged else "not known",
        strip,
        "; ".join(notes),
    )


def of_trace(trace: Trace) -> Context:
    """Return the ways of the packets, one for each kind of fate."""
    return Context(
        traces=tuple(
            Traced(
                f"{group.share}: {trace.vantage} > {trace.target}",
                group.verdict.value,
                told,
                tuple(_hops(group.members[0])),
            )
            for group, told in trace.told()
        )
    )


def _hops(one: Judged) -> Iterator[Hop]:
    """Yield each port that a segment came in by or left by, and the host in which it was lost."""
    ways = [("SYN", one.syn), ("SYN-ACK", one.syn_ack), ("RST", one.reset)]
    if one.segment in {"ACK", "reply"}:
        ways.append(("ACK", one.ack))
    for packet, passages in ways:
        for passage in passages:
            for hop in passage.hops:
                note = f"in {hop.tunnel}" if hop.tunnel else ""
                if hop.entered:
                    yield Hop(passage.host, hop.entered, packet, seen=True, note=note)
                if hop.left:
                    yield Hop(passage.host, hop.left, packet, seen=True, note=note)
                elif not hop.here:
                    last = f"last seen on {hop.inner}" if hop.inner else ""
                    yield Hop(passage.host, "", packet, seen=False, note=last or "never left")
