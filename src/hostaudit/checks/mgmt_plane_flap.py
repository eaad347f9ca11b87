"""The management ports of the hosts (SSH, consoles) answer every time.

What it reads
    Handshakes of ``hostaudit run --probe``: 10 with every port that the inventory declares (``hostaudit_management``:
    ports of the host's own address, or ADDRESS:PORT), each until the end of the connection was acknowledged.

Why it matters
    Consoles and SSH that come and go are mostly the first sign of a fault of the network between the hosts: the same
    filters take the packets of management and of services. It is seen from outside only. A session that is open may
    survive it, and hostaudit's own mostly do.

Active when
    ``failed`` connections or more failed and others worked. *Connects, then silence* is told apart from *no answer*:
    the second stage is the one that consoles hang in. One lost connection is no flap. A port that never works is
    told as such, with severity medium: it is closed, or filtered for this vantage point.

How it is remedied
    By its cause: ``conntrack-invalid-drop``, ``rp-filter-strict``, ``vip-arp-duplicate`` (two machines with one
    address) and ``nic-drops`` on that host and on the hypervisors before it.

Fix safety
    Probing changes nothing. An sshd logs each of these connections; since OpenSSH 9.8 one turns an address away that
    made many without a login (PerSourcePenalties), so there are ten and no more.

References
    https://man.openbsd.org/sshd_config#PerSourcePenalties
    https://pve.proxmox.com/wiki/Firewall
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _probe, _say, fleet_check
from hostaudit.model import Severity
from hostaudit.probed import WORDS, Series, Verdict

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.HIGH, thresholds={"failed": 2})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Judge each port over all vantage points."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for one in _probe.seen(fleet).tcp:
        if one.host:
            groups.setdefault((one.host, one.target), []).append(one)
    findings = []
    for (host, target), members in groups.items():
        tried = [one for one in members if one.judged]
        flaps = [o for o in tried if o.ok and o.judged - o.ok >= fleet.threshold("failed")]
        failing = flaps or [one for one in tried if one.verdict is Verdict.DOWN]
        if untried := [one for one in members if not one.judged]:
            why = next((one.error for one in untried if one.error), "no socket could be made")
            findings.append(_probe.not_known(f"{target} of {host} could not be tried: {why}", _from(untried)))
        if failing:
            findings.append(_failed(fleet, failing, members, flaps=bool(flaps)))
        elif tried:
            text = f"{sum(o.ok for o in tried)} of {sum(o.judged for o in tried)} handshakes with {target} work"
            findings.append(_probe.fine(text, _from(tried), host=host, strips=[one.strip for one in tried]))
    return findings


def _from(members: list[Series]) -> list[str]:
    return [one.vantage for one in members]


def _failed(fleet: Fleet, failing: list[Series], members: list[Series], *, flaps: bool) -> Finding:
    worst = min(failing, key=lambda one: one.ok / one.judged)
    main = next(name for name in worst.counts if name not in {"ok", "local"})
    name = f"{_probe.short(worst.host, 16)}:{worst.port}"
    lost = f"{worst.judged - worst.ok} of {worst.judged} handshakes fail"
    where, port = _say.quote(worst.address), worst.port
    return _probe.failed(
        fleet,
        _from(failing),
        f"{name} comes and goes: {lost} ({WORDS[main]})" if flaps else f"{name} never works ({WORDS[main]})",
        severity=Severity.HIGH if flaps else Severity.MEDIUM,
        evidence={
            "host": worst.host,
            "series": [
                {"from": o.vantage, "target": o.target, "outcomes": o.counts, "strip": o.strip, "pattern": o.pattern}
                for o in members
            ],
        },
        reproduce=f"for p in $(seq 61000 61009); do nc -z -w 2 -p $p {where} {port} && echo ok || echo FAIL; done",
        disproof="The loop prints ok ten times, several times in a row, from the same vantage point.",
        advice=(
            "Look at conntrack-invalid-drop and rp-filter-strict of that host and of the hypervisors before it, and "
            f"let `hostaudit trace {worst.target}` show where the packets die."
            if flaps
            else "See whether the service listens, and whether a filter lets this vantage point in."
        ),
        cause="management ports come and go" if flaps else "no handshake with a management port works",
    )
