"""TLS servers send every certificate that a client needs to get to a root.

What it reads
    The TLS handshakes of ``hostaudit run --probe`` with the declared targets on the ports 443, 6443, 8006 and 8443:
    the certificates that were sent, and whether they lead to a root that the vantage point trusts. Nothing is fetched
    from anywhere else.

Why it matters
    Browsers mend a missing intermediate certificate in silence, from their cache or from the address that the leaf
    names. curl, Java, Go and every API client do not: "unable to get local issuer certificate", for some clients only.

Active when
    The certificates that were sent do not continue the leaf, and the leaf says that its issuer has a certificate to be
    fetched. A leaf alone that says no such thing may have been issued by a private root: that is said, and no failure.

How it is remedied
    The server is given the whole chain in one file, the leaf first (``fullchain.pem``, not ``cert.pem``); on Proxmox VE
    it is ``/etc/pve/local/pveproxy-ssl.pem``.

Fix safety
    Most servers take new certificates with a reload; connections stay.

References
    https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2
    https://pve.proxmox.com/wiki/Certificate_Management
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _probe, _tls, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.MEDIUM)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Look for chains that end too early."""
    findings = _tls.unknown(fleet)
    for one in _tls.shown(fleet):
        name = _probe.short(one.target)
        if one.chain in {"self-signed", "unknown-issuer"}:
            reason = f"{name}: the root of its certificate is not known here ({one.chain})"
            findings.append(_probe.not_known(reason, (one.vantage,)))
        elif one.chain != "incomplete":
            findings.append(_probe.fine(f"{name} sends a whole chain", (one.vantage,)))
        else:
            findings.append(
                _probe.failed(
                    fleet,
                    (one.vantage,),
                    f"{name} does not send the certificate of its issuer",
                    evidence=_tls.evidence(one),
                    reproduce=_tls.command(one, "grep -E '^ *[0-9] s:|Verif'"),
                    disproof="The command lists the leaf's issuer as certificate 1.",
                    advice=f"Install the whole chain on the server, the leaf first: {one.issuer!r} is missing.",
                    cause="a server does not send its intermediate certificate",
                )
            )
    return findings
