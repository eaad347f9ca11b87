"""Name servers answer within a second, for A and AAAA.

What it reads
    Lookups of ``hostaudit run --probe`` at the name servers that the inventory declares (``hostaudit_dns``): up to 10
    of each name, A and AAAA in parallel from one socket as the C library asks, repeated after the ``timeout`` of that
    host's resolv.conf (5 s).

Why it matters
    An answer that is lost costs a client 5 s, each time, before it even connects: requests that take 5.1 s among ones
    that take 0.1 s are taken for a slow application. Where one type is never answered, every lookup takes that long.

Active when
    ``stalls`` lookups or more took ``slow_ms`` or longer, or a name server answered nothing, or never one of the two
    types. One slow lookup alone is a recursion that nobody had cached.

How it is remedied
    All: the name server, or the way to it. One type never: the server or a filter that drops what it does not know has
    to answer it with an empty answer. Some: packets that are lost, see ``dns-conntrack-race`` in the same run.

Fix safety
    Asking changes nothing but caches.

References
    https://man7.org/linux/man-pages/man5/resolv.conf.5.html
    https://www.rfc-editor.org/rfc/rfc4074
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _dns, _probe, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding
    from hostaudit.probed import Dns


@fleet_check(reads=("probes",), severity=Severity.MEDIUM, thresholds={"slow_ms": 1000, "stalls": 2})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Judge each name at each name server."""
    findings = []
    for (server, _, name), members in _dns.groups(fleet).items():
        if untried := [one for one in members if one.error or not one.asked]:
            why = next((one.error for one in untried if one.error), "no lookup was made")
            findings.append(_probe.not_known(f"{server} could not be asked: {why}", (o.vantage for o in untried)))
        told = [(one, said) for one in members if one not in untried for said in [_said(fleet, one)]]
        if bad := [(one, said) for one, said in told if said]:
            findings.append(_failed(fleet, [one for one, _ in bad], bad[0][1]))
        elif told:
            slowest = max(max(one.waited["absolute"]) for one, _ in told)
            text = f"{server} answers for {_probe.short(name)} within {max(1, slowest):.0f} ms"
            findings.append(
                _probe.fine(text, (one.vantage for one, _ in told), lookups=[_dns.evidence(o) for o, _ in told])
            )
    return findings


def _said(fleet: Fleet, one: Dns) -> str:
    """Return what is wrong with the lookups of one name; empty: nothing."""
    slow = [wait for wait in one.waited["absolute"] if wait >= fleet.threshold("slow_ms")]
    if one.server_down:
        return f"{one.server} answers no query"
    for kind, times in one.times.items():
        if all(time is None for time in times):
            return f"{one.server} never answers {kind} for {_probe.short(one.name, 20)}: each lookup waits"
    if len(slow) >= fleet.threshold("stalls"):
        return f"{len(slow)} of {one.asked} lookups at {one.server} take {min(slow) / 1000:.1f} s or longer"
    return ""


def _failed(fleet: Fleet, members: list[Dns], said: str) -> Finding:
    down = members[0].server_down
    lost = "never answers" in said
    return _probe.failed(
        fleet,
        (one.vantage for one in members),
        said,
        severity=Severity.HIGH if down or lost else None,
        evidence={"lookups": [_dns.evidence(one) for one in members]},
        reproduce=_dns.command(members[0]),
        disproof="Both types are answered at once, twenty times in a row, from the same vantage point.",
        advice=(
            "See whether the name server runs, and what is between: nothing came back."
            if down
            else "The server, or a filter before it, has to give an empty answer for a type that it has no record of."
            if lost
            else "Multiples of the resolver's timeout are lost packets: see dns-conntrack-race and nic-drops. Anything "
            "else is the server, or those it asks."
        ),
        cause="a name server answers nothing" if down else "one type is never answered" if lost else "lookups stall",
    )
