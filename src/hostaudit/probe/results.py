"""From the agents' answers to what was seen (``hostaudit.probed``). Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hostaudit.probed import Arp, Dns, Mtu, Owner, Series, Tls, Try

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.probe.targets import Addressed
    from hostaudit.probe.vantage import Reply
    from hostaudit_agent.probe.arp import Heard
    from hostaudit_agent.probe.dns import Asked
    from hostaudit_agent.probe.mtu import Path
    from hostaudit_agent.probe.tls import Shown

DEFAULT_CERTIFICATES = (
    "traefik default cert",
    "kubernetes ingress controller fake certificate",
    "haproxy",
    "ingress.local",
    "caddy local authority",
    "nginx ingress controller",
    "snakeoil",
)
"""Subjects, in lower case, of the certificates that proxies make for themselves."""
X509_SELF_SIGNED, X509_ROOT_UNKNOWN, X509_ISSUER_MISSING = 18, 19, (2, 20, 21)
"""X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN, _UNABLE_TO_GET_ISSUER_CERT and its kin."""


def series(reply: Reply, targets: Sequence[Addressed]) -> list[Series]:
    """Return one series for each target, in order; of a vantage point that was not reached, with the reason."""
    name = reply.vantage.name
    error = errors(reply, "tcp")
    tries: dict[int, list[Try]] = {number: [] for number in range(len(targets))}
    for one in reply.answer.tcp if reply.answer else ():
        if one.target in tries:
            said = Try(one.outcome, one.source_port, one.connect_ms, one.retransmits, one.origin, one.errno, one.began)
            tries[one.target].append(said)
    return [Series(name, t.target, t.address, t.port, tuple(tries[n]), error) for n, t in enumerate(targets)]


def arp(vantage: str, heard: Heard) -> Arp:
    """Count who answered, and how often the answer became another one."""
    replies = Counter(mac for macs in heard.rounds for mac in macs)
    replies.update(mac for mac in heard.announced if mac not in replies)
    singles = [macs[0] for macs in heard.rounds if len(macs) == 1]
    changes = sum(before != after for before, after in itertools.pairwise(singles))
    error = heard.error
    if heard.gateway:
        error = f"it is on no segment of this host, but behind {heard.gateway}; ask from a host of its segment"
    owners = tuple(Owner(mac, number) for mac, number in sorted(replies.items()))
    return Arp(vantage, heard.address, heard.interface, owners, len(heard.rounds), changes, heard.mine, error)


def mtu(vantage: str, path: Path, segment: str = "") -> Mtu:
    """Return the path with where it was measured from."""
    return Mtu(
        vantage,
        path.address,
        path.verdict,
        path.mtu,
        path.lost,
        path.local_mtu,
        path.said_by,
        path.said_mtu,
        segment,
        path.echo,
        path.error,
    )


def tls(vantage: str, target: str, shown: Shown, now: datetime) -> Tls:
    """Judge the certificates of one server."""
    if not shown.sent:
        return Tls(vantage, target, shown.address, shown.port, shown.name, tuple(shown.versions), error=shown.error)
    leaf = shown.sent[0]
    until = datetime.fromtimestamp(leaf.not_after, UTC)
    matches = any(_matches(name, shown.name) for name in leaf.names) if shown.name else None
    return Tls(
        vantage,
        target,
        shown.address,
        shown.port,
        shown.name,
        tuple(shown.versions),
        len(shown.sent) if shown.counted else None,
        chain(shown),
        leaf.subject,
        leaf.issuer,
        tuple(leaf.names),
        matches,
        any(word in leaf.subject.lower() for word in DEFAULT_CERTIFICATES) and matches is not True,
        f"{until:%Y-%m-%dT%H:%M:%SZ}",
        round((until - now).total_seconds() / 86400, 2),
        shown.error,
    )


def chain(shown: Shown) -> str:
    """Say whether the certificates that were sent lead to a root.

    A leaf that is alone and whose issuer is not known here can have been issued by a private root. It is called
    incomplete where it says itself that its issuer can be fetched, which a root's own leaf has no reason to, or where
    other certificates were sent that do not continue it.
    """
    leaf = shown.sent[0]
    if shown.verify_code == X509_SELF_SIGNED or (leaf.self_issued and shown.verify_code):
        return "self-signed"
    if shown.verify_code in X509_ISSUER_MISSING:
        issuers = {one.subject for one in shown.sent[1:]}
        continued = leaf.issuer in issuers
        return "unknown-issuer" if continued or not (leaf.says_issuer or shown.sent[1:]) else "incomplete"
    return "unknown-issuer" if shown.verify_code == X509_ROOT_UNKNOWN else "complete"


def dns(vantage: str, asked: Asked) -> Dns:
    """Put the lookups of one name together."""
    lookups = asked.absolute
    return Dns(
        vantage,
        asked.server,
        asked.name,
        len(lookups),
        {kind: tuple(one.slowest.get(kind) for one in lookups) for kind in ("A", "AAAA")},
        {
            "relative": tuple(one.ms for one in asked.relative),
            "absolute": tuple(one.ms for one in lookups),
        },
        asked.relative[-1].sent if asked.relative else 0,
        lookups[-1].rcodes if lookups else {},
        tuple(sorted({address for one in lookups for address in one.addresses})),
        asked.error,
        asked.timeout,
        asked.refused,
    )


def errors(reply: Reply, kind: str) -> str:
    """Return why a vantage point could not do its task at all; empty where it could."""
    return reply.answer.errors.get(kind, "") if reply.answer else reply.vantage.reason


def _matches(pattern: str, name: str) -> bool:
    """Compare as RFC 6125 says: a star stands for the whole leftmost label, and for nothing else."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:] and "." in name
    return pattern == name


def segments(classes: Mapping[str, str]) -> dict[str, list[str]]:
    """Turn vantage point -> class around: class -> its vantage points, in order."""
    groups: dict[str, list[str]] = {}
    for name, kind in classes.items():
        groups.setdefault(kind, []).append(name)
    return groups
