"""Every handshake with a declared address works, from every vantage point.

What it reads
    Handshakes of ``hostaudit run --probe``: 20 with every address of every target that the inventory declares
    (``hostaudit_vips`` with a port, ``hostaudit_probes``), each from a source port of its own, each until the end of
    the connection was acknowledged.

Why it matters
    This is what users feel. Where some connections fail and some do not, what decides is the path: a hash of addresses
    and ports sends one connection through a hypervisor that drops it and the next through one that does not. A monitor
    that tries once a minute calls such a service healthy half of the time.

Active when
    A connection failed. Severity high from ``high_share`` of the connections on (or all of them), medium from
    ``warn_share`` on, low below.

How it is remedied
    By its cause. Some of the connections: look in the same run for ``conntrack-invalid-drop`` on every hypervisor
    (connects fail) or on the one that is left (connects, then silence), and let ``hostaudit trace`` say where the
    handshake dies. All of them: nothing answers there; see the service itself, then ``vip-arp-unanswered``.

Fix safety
    Probing changes nothing. Each connection is closed in order, without a request.

References
    https://www.rfc-editor.org/rfc/rfc9293
    https://learn.netdata.cloud/docs/collecting-metrics/synthetic-checks/tcp-udp-endpoints
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _probe, _say, fleet_check
from hostaudit.model import Severity
from hostaudit.probed import WORDS, Series, Verdict, by_target

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.HIGH, thresholds={"warn_share": 0.1, "high_share": 0.4})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Judge each target over all its addresses and vantage points."""
    findings = []
    for target, members in by_target(_probe.services(fleet)).items():
        tried = [one for one in members if one.judged]
        failing = [one for one in tried if one.verdict is not Verdict.OK]
        untried = [one for one in members if not one.judged]
        if failing:
            findings.append(_failed(fleet, target, failing, members))
        elif tried:
            total = sum(one.judged for one in tried)
            findings.append(
                _probe.fine(f"all {total} handshakes with {_probe.short(target)} work", (one.vantage for one in tried))
            )
        if untried:
            why = next((one.error for one in untried if one.error), "no socket could be made")
            findings.append(_probe.not_known(f"{target} could not be tried: {why}", (o.vantage for o in untried)))
    return findings


def _failed(fleet: Fleet, target: str, failing: list[Series], members: list[Series]) -> Finding:
    worst = min(failing, key=lambda one: one.ok / one.judged)
    lost = sum(one.judged - one.ok for one in failing)
    total = sum(one.judged for one in failing)
    share = max((one.judged - one.ok) / one.judged for one in failing)
    mixed = any(one.verdict is Verdict.PATH_DEPENDENT for one in failing)
    high, warn = fleet.threshold("high_share"), fleet.threshold("warn_share")
    severity = Severity.HIGH if share >= high else Severity.MEDIUM if share >= warn else Severity.LOW
    main = next(name for name in worst.counts if name != "ok")
    summary = f"{lost} of {total} handshakes with {_probe.short(target)} fail: {WORDS[main]}"
    where, port = _say.quote(worst.address), worst.port
    return _probe.failed(
        fleet,
        (one.vantage for one in failing),
        summary,
        severity=severity,
        evidence={"series": [_evidence(one) for one in members]},
        reproduce=(
            f"for p in $(seq 61000 61019); do nc -z -w 2 -p $p {where} {port} && echo $p ok || echo $p FAIL; done"
        ),
        disproof="The loop prints ok for each of the source ports, several times in a row.",
        advice=_advice(worst, mixed=mixed),
        cause="some handshakes fail, by the path" if mixed else "no handshake works",
    )


def _evidence(one: Series) -> dict[str, Any]:
    row: dict[str, Any] = {"from": one.vantage, "address": one.address, "verdict": one.verdict.value}
    row |= {"outcomes": one.counts, "connect_ms": one.percentiles, "strip": one.strip}
    if one.pattern:
        row["pattern"] = one.pattern
    return row


def _advice(worst: Series, *, mixed: bool) -> str:
    target = worst.target
    if not mixed:
        return (
            "Nothing works there: see whether the service listens, and who answers ARP for the address "
            f"(`hostaudit probe arp {worst.address}`)."
        )
    if "silent" in worst.counts:
        return (
            "They connect and then hang: the SYN-ACK gets through and what follows does not. One hypervisor of two "
            f"drops INVALID (half a fix): see conntrack-invalid-drop, and `hostaudit trace {target}`."
        )
    return (
        "What decides is the path: see conntrack-invalid-drop on every hypervisor, and let "
        f"`hostaudit trace {target}` show where the handshake dies."
    )
