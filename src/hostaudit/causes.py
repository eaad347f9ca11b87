"""Findings that belong together: one cause with its symptoms. Pure: findings in, causes out; no finding is changed.

A symptom belongs to a cause when both fail on the same host, in the same network namespace, and the rule below says how
they hang together. What is active is put below what is active only: a cause that nobody saw at work does not explain
packets that are being lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.model import Cause, Grade, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.model import Finding

Key = tuple[str, str, tuple[str, ...], str]
Place = tuple[str, str, str]
"""Check, network namespace, host."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the checks hang together: ``cause`` explains ``symptoms``."""

    cause: str
    symptoms: tuple[str, ...]
    why: str


RULES = (
    Rule(
        "conntrack-table-full",
        (
            "conntrack-max-overridden",
            "conntrack-timeout-long",
            "conntrack-hash-undersized",
            "conntrack-insert-failed",
            "connection-churn-high",
        ),
        "These fill the table, keep it small, or are what a full one does.",
    ),
    Rule(
        "conntrack-hash-undersized",
        ("conntrack-insert-failed",),
        "Chains that are too long refuse entries.",
    ),
    Rule(
        "conntrack-invalid-drop",
        ("asymmetric-path", "conntrack-invalid-policy-mismatch", "tcp-retransmit-high"),
        "Replies that are dropped are sent again; with another policy on the next host it works there and fails here.",
    ),
    Rule(
        "kube-proxy-invalid-drop",
        ("conntrack-invalid-drop", "tcp-retransmit-high"),
        "It is kube-proxy's rule that drops them; replies that are dropped are sent again.",
    ),
    Rule(
        "icmp-frag-needed-blocked",
        ("mtu-tunnel-overhead", "mss-clamp-missing", "tcp-retransmit-high"),
        "Packets that are too large are lost, and nobody tells the sender: a black hole for path MTU discovery.",
    ),
    Rule(
        "mtu-tunnel-overhead",
        ("mss-clamp-missing", "tcp-retransmit-high"),
        "Packets that fill the tunnel do not fit the link below it.",
    ),
    Rule(
        "connection-storm",
        ("syn-queue-overflow", "listen-queue-overflow", "connection-churn-high"),
        "More connections come at once than the queues take.",
    ),
    Rule(
        "cilium-ct-map-pressure",
        ("cilium-ct-insert-failed",),
        "A map that has no room takes no new connection.",
    ),
    Rule(
        "hardening-contradiction",
        ("rp-filter-strict", "ip-forward-disabled", "bridge-nf-call-off", "sysctl-drift"),
        "A file sets what the container network cannot work with, and wins sooner or later.",
    ),
    Rule("kube-proxy-strict-arp", ("arp-cache-stale",), "Every node answers, and neighbours keep any of the answers."),
    Rule(
        "close-wait-leak",
        ("fd-exhaustion", "ephemeral-port-exhaustion"),
        "Each socket that is never closed keeps a file descriptor, and a client's a local port.",
    ),
    Rule("fd-exhaustion", ("listen-queue-overflow",), "Without a file descriptor accept() fails, and the queue fills."),
    Rule("connection-churn-high", ("ephemeral-port-exhaustion",), "Each new connection keeps a port for a minute."),
    Rule(
        "nic-saturated",
        ("nic-drops", "tcp-retransmit-high", "tcp-retransmit-periodic"),
        "What does not fit the link is dropped and sent again.",
    ),
    Rule("nic-drops", ("tcp-retransmit-high", "tcp-retransmit-periodic"), "What is dropped here is sent again."),
    Rule("vxlan-tx-checksum-offload", ("tcp-retransmit-high",), "Packets with a bad checksum are sent again."),
    Rule(
        "tcp-retransmit-periodic",
        ("tcp-retransmit-high",),
        "The share is high because of the bursts; the job that makes them is the cause.",
    ),
    Rule("xtables-lock-contention", ("service-endpoint-stale",), "Rules that cannot be written stay as they were."),
    Rule("service-endpoint-stale", ("conntrack-stale-dnat",), "Rules and flows still point to backends that are gone."),
)
"""In order: a symptom belongs to the first cause that is there."""


def key(finding: Finding) -> Key:
    """Return what tells a finding of a run from all others."""
    return (finding.check, finding.host, finding.hosts, finding.netns)


def causes(findings: Iterable[Finding]) -> tuple[Cause, ...]:
    """Return the causes that have symptoms, in the order of the findings; no finding belongs to two."""
    failed = [f for f in findings if f.status is Status.FAIL]
    at: dict[Place, list[tuple[int, Finding]]] = {}
    for number, one in enumerate(failed):
        for host in one.hosts or (one.host,):
            at.setdefault((one.check, one.netns, host), []).append((number, one))
    above = {key(f): cause for f in failed if (cause := _above(f, at))}
    below: dict[Key, list[Finding]] = {}
    for finding in failed:
        top = finding
        while key(top) in above:
            top = above[key(top)]
        if top is not finding:
            below.setdefault(key(top), []).append(finding)
    whys = {rule.cause: rule.why for rule in RULES}
    return tuple(Cause(f, tuple(below[key(f)]), whys[f.check]) for f in failed if key(f) in below)


def _above(finding: Finding, at: Mapping[Place, Sequence[tuple[int, Finding]]]) -> Finding | None:
    """Return the cause that a finding belongs to, the first one that failed; ``None``: it stands for itself.

    Looked up by place: a fleet of ten thousand hosts has thousands of symptoms and of causes.
    """
    for rule in RULES:
        if finding.check not in rule.symptoms:
            continue
        near = [
            one for host in finding.hosts or (finding.host,) for one in at.get((rule.cause, finding.netns, host), ())
        ]
        seen = [one for one in near if one[1].grade is Grade.ACTIVE or finding.grade is not Grade.ACTIVE]
        if seen:
            return min(seen, key=lambda one: one[0])[1]
    return None
