"""What the checks of TLS probes have in common. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _probe, _say

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding
    from hostaudit.probed import Tls


def shown(fleet: Fleet) -> list[Tls]:
    """Return the servers that showed a certificate; each certificate of a target once, with the first vantage point."""
    found: dict[tuple[str, str, str, str], Tls] = {}
    for one in _probe.seen(fleet).tls:
        if one.subject or one.not_after:
            found.setdefault((one.target, one.address, one.subject, one.not_after), one)
    return list(found.values())


def unknown(fleet: Fleet) -> list[Finding]:
    """Return a finding for each server with which there was no handshake."""
    return [
        _probe.not_known(
            f"{one.target} ({one.address}): no TLS handshake: {one.error}"
            if one.address
            else f"{one.target}: {one.error}",
            (one.vantage,),
        )
        for one in _probe.seen(fleet).tls
        if not one.subject and not one.not_after
    ]


def evidence(one: Tls) -> dict[str, Any]:
    """Return what the server showed."""
    return {
        "target": one.target,
        "address": one.address,
        "asked_for": one.name,
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names[:10]),
        "certificates": one.certificates,
        "chain": one.chain,
        "not_after": one.not_after,
        "versions": list(one.versions),
    }


def command(one: Tls, then: str) -> str:
    """Return ``openssl s_client`` for this server, with what reads its answer."""
    host = f"[{one.address}]" if ":" in one.address else one.address
    name = f" -servername {_say.quote(one.name)}" if one.name else ""
    return f"openssl s_client -connect {_say.quote(f'{host}:{one.port}')}{name} </dev/null 2>/dev/null | {then}"
