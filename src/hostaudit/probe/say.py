"""What probes saw, for a person: sentences and lines without layout. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.probed import WORDS, Verdict

if TYPE_CHECKING:
    from hostaudit.probed import Arp, Dns, Mtu, Series, Tls

EXPIRES = 14
"""Days before its end from which a certificate is no longer in order; as the check tls-certificate-expiry has it."""
STALL = 1000.0
"""Milliseconds from which a lookup is a stall."""


def milliseconds(value: float) -> str:
    """Return ``0.41 ms``, ``12 ms``, ``1.03 s``."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def series(one: Series) -> list[str]:
    """Return what is to be said about a series beside its row of the table."""
    if one.error:
        return [f"could not be tried: {one.error}"]
    lines = []
    failures = {name: number for name, number in one.counts.items() if name != "ok"}
    if failures:
        lines.append(", ".join(f"{number} {WORDS[name]}" for name, number in failures.items()))
    origins = sorted({t.origin for t in one.tries if t.origin})
    if origins:
        lines.append(f"the ICMP errors came from {', '.join(origins)}")
    errnos = sorted({t.errno for t in one.tries if t.outcome == "local" and t.errno})
    if errnos:
        lines.append(f"this machine's kernel said {', '.join(errnos)}")
    if one.pattern:
        lines.append(one.pattern)
    late = sum(t.retransmits > 0 for t in one.tries if t.outcome == "ok")
    if late:
        lines.append(f"{late} of those that worked needed a segment sent again")
    return lines


def arp(one: Arp) -> tuple[bool | None, str]:
    """Return whether it is in order (``None``: not known), and a sentence."""
    if one.error:
        return None, one.error
    if one.mine:
        return None, "has the address itself; ask from another host of the segment"
    said = ", ".join(f"{owner.mac} ({owner.replies} of {one.asked} times)" for owner in one.owners)
    if not one.owners:
        return False, f"nobody answers on {one.interface} ({one.asked} asked)"
    if one.changes:
        return False, f"the owner changes on {one.interface}: {said}"
    if len(one.owners) > 1:
        return False, f"{len(one.owners)} machines answer on {one.interface}: {said}"
    return True, f"{said} on {one.interface}"


def mtu(one: Mtu) -> tuple[bool | None, str]:
    """Return whether it is in order (``None``: not known), and a sentence."""
    by = f" [{one.echo} echo]" if one.echo else ""
    if one.verdict == "black-hole":
        return False, f"BLACK HOLE: {one.mtu} bytes arrive, {one.lost} vanish without an ICMP error{by}"
    if one.verdict == "pmtud":
        return True, f"{one.mtu} bytes; {one.said_by or 'a router'} says so (path MTU discovery works){by}"
    if one.verdict == "local":
        return True, f"{one.mtu} bytes; the limit is this host's own route or interface{by}"
    if one.verdict == "ok":
        return True, f"{one.mtu} bytes get through{by}"
    if one.verdict == "no-answer":
        return None, "no answer, not even to a small packet: nothing is known about its size"
    return None, one.error or "not tried"


def tls(one: Tls, expires: float = EXPIRES) -> tuple[bool | None, list[str]]:
    """Return whether it is in order (``None``: not known), and the lines."""
    if not one.address:
        return None, [f"could not be tried: {one.error}"]
    if one.error and not one.subject:
        return False, [f"no handshake: {one.error}"]
    wrong = []
    if one.default:
        wrong.append(f"DEFAULT CERTIFICATE: {one.subject}; no route matched {one.name}")
    elif one.matches is False:
        wrong.append(f"WRONG NAME: the certificate is for {', '.join(one.names[:5]) or one.subject}, not {one.name}")
    if one.days is not None and one.days < 0:
        wrong.append(f"EXPIRED {-one.days:.0f} days ago, {one.not_after}")
    elif one.days is not None and one.days < expires:
        wrong.append(f"expires in {one.days:.0f} days, {one.not_after}")
    if one.chain == "incomplete":
        wrong.append(f"INCOMPLETE CHAIN: {_certificates(one)} sent, the issuer {one.issuer!r} is not among them")
    elif one.chain == "self-signed" and not one.default:
        wrong.append("self-signed: no client trusts it that was not told to")
    elif one.chain == "unknown-issuer":
        wrong.append(f"the issuer {one.issuer!r} is not known here (a private one? give --ca-file)")
    versions = ", ".join(one.versions)
    fine = f"{one.subject or 'no subject'}, {_certificates(one)}, {versions}, until {one.not_after[:10]}"
    return not wrong, [fine, *wrong]


def _certificates(one: Tls) -> str:
    if one.certificates is None:
        return "certificates not counted"
    return f"{one.certificates} certificate{'s' if one.certificates != 1 else ''}"


def dns(one: Dns) -> tuple[bool, list[str]]:
    """Return whether it is in order, and the lines."""
    if one.error:
        return False, [f"could not be asked: {one.error}"]
    lines, fine = [], True
    for label, text in (
        ("absolute", f"{one.name.rstrip('.')}. (with a dot: no search domains)"),
        ("relative", f"{one.name} (as written)"),
    ):
        waits = one.waited.get(label, ())
        if not waits:
            continue
        stalls = sum(wait >= STALL for wait in waits)
        fine = fine and not stalls
        queries = f", {one.queries} queries" if label == "relative" and one.queries else ""
        median, most = sorted(waits)[len(waits) // 2], max(waits)
        said = f"{text}  median {milliseconds(median)}, at most {milliseconds(most)}{queries}"
        lines.append(said + (f"; {stalls} of {len(waits)} STALLED" if stalls else ""))
    for kind, times in one.times.items():
        lost = sum(t is None for t in times)
        if lost:
            fine = False
            stalled = any(wait >= STALL for wait in one.waited.get("absolute", ()))
            why = f"clients wait {one.wait:g} s for it each time" if stalled else "the port is closed there"
            lines.append(f"{lost} of {len(times)} {kind} queries got NO ANSWER: {why}")
    bad = {kind: code for kind, code in one.rcodes.items() if code != "NOERROR"}
    if bad:
        fine = False
        lines.append(", ".join(f"{kind}: {code}" for kind, code in bad.items()))
    if one.addresses:
        lines.append(f"addresses {', '.join(one.addresses)}")
    return fine, lines


def failing(one: Series) -> bool:
    """Say whether a series speaks against its target."""
    return one.verdict in (Verdict.PATH_DEPENDENT, Verdict.DOWN)
