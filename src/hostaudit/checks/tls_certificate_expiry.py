"""No certificate of a declared target has expired or is about to.

What it reads
    The TLS handshakes of ``hostaudit run --probe``: until when the server's own certificate is valid.

Why it matters
    From one second to the next no client connects any more. Most certificates are renewed by a program, weeks ahead;
    one that is still there two weeks before its end says that this program does not work.

Active when
    It has expired (severity high). With less than ``warn_days`` left it is a risk, medium; with less than ``high_days``
    left, high.

How it is remedied
    It is renewed, and the reason is found why that did not happen by itself; on Proxmox VE ``pvenode acme cert renew``.

Fix safety
    Most servers take new certificates with a reload; connections stay.

References
    https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5
    https://pve.proxmox.com/wiki/Certificate_Management
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _probe, _tls, fleet_check
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.MEDIUM, thresholds={"warn_days": 14, "high_days": 7})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Look at the ends of the certificates."""
    findings = _tls.unknown(fleet)
    for one in _tls.shown(fleet):
        name, days = _probe.short(one.target), one.days
        if days is None or days >= fleet.threshold("warn_days"):
            findings.append(_probe.fine(f"the certificate of {name} is valid long enough", (one.vantage,)))
            continue
        over = days < 0
        summary = f"the certificate of {name} " + (
            f"expired on {one.not_after[:10]}" if over else f"ends in {days:.0f} days"
        )
        findings.append(
            _probe.failed(
                fleet,
                (one.vantage,),
                summary,
                grade=Grade.ACTIVE if over else Grade.RISK,
                severity=Severity.HIGH if days < fleet.threshold("high_days") else Severity.MEDIUM,
                evidence=_tls.evidence(one),
                reproduce=_tls.command(one, "openssl x509 -noout -enddate"),
                disproof="The command prints a later date.",
                advice="Renew it, and find why that did not happen by itself.",
                cause="a certificate has expired" if over else "a certificate expires soon",
            )
        )
    return findings
