"""TLS servers answer for the name that they are asked for, not with a proxy's default certificate.

What it reads
    The TLS handshakes of ``hostaudit run --probe`` with the targets that are declared by name: the certificate's
    subject and its names.

Why it matters
    An ingress or a proxy that has no route for a name answers with a certificate that it made for itself. The error in
    the client speaks of trust; the fault is a router, a secret that was not found, or a name that was misspelt.

Active when
    The certificate is one of the known default ones (Traefik, ingress-nginx, HAProxy, Caddy, snakeoil), or does not
    hold the name that was asked for.

How it is remedied
    The route, or the secret that it names; the certificate itself is in order.

Fix safety
    A route is added for one name; the others stay as they are.

References
    https://www.rfc-editor.org/rfc/rfc6066#section-3
    https://doc.traefik.io/traefik/https/tls/#default-certificate
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
    """Compare the certificate with the name that was asked for."""
    findings = _tls.unknown(fleet)
    for one in _tls.shown(fleet):
        name = _probe.short(one.name or one.target)
        if not one.default and one.matches is not False:
            findings.append(_probe.fine(f"the certificate of {name} is not a default one", (one.vantage,)))
            continue
        what = "a proxy's default certificate" if one.default else "a certificate of another name"
        findings.append(
            _probe.failed(
                fleet,
                (one.vantage,),
                f"{name} answers with {what}",
                evidence=_tls.evidence(one),
                reproduce=_tls.command(one, "openssl x509 -noout -subject -ext subjectAltName"),
                disproof=f"The command prints {name} among the names.",
                advice="See the route for this name, and the secret that it takes its certificate from.",
                cause=f"a server answers with {what}",
            )
        )
    return findings
