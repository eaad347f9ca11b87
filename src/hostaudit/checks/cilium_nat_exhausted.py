"""Cilium finds a source port for every connection that it translates.

What it reads
    Drops for reason 167 (no mapping for NAT masquerade) in ``cilium_metrics``, before and after; entries of
    ``cilium_snat_v4_external`` and ``cilium_snat_v6_external``.

Why it matters
    What leaves the cluster takes the node's address and one of its ports, one for each address and port of a target.
    When there is none left for a busy target, new connections to it are dropped in BPF: neither netfilter nor the
    kernel's counters know of them, and pods see a timeout. The map itself is LRU: full, it forgets translations that
    are in use.

Active when
    Packets were dropped for it between the samples, or a map is full (``full_share``, as ``cilium-ct-map-pressure``
    reckons it). It is a risk from ``risk_share`` on, high from ``high_share`` on.

How it is remedied
    Ports: spread the targets, reuse connections, or give the node more addresses to translate to (an egress gateway).
    The map: ``bpf-nat-global-max`` in cilium-config, at most the sum of the connection tracking maps.

Fix safety
    A map of another size is made anew when the agent starts; connections that are translated break. One node at a time.

References
    https://docs.cilium.io/en/stable/network/ebpf/maps/
    https://docs.cilium.io/en/stable/network/concepts/masquerading/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _cilium, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(
    reads=("bpf",),
    severity=Severity.MEDIUM,
    thresholds={"risk_share": 0.7, "high_share": 0.9, "full_share": 0.99},
)
def evaluate(view: View) -> Finding:
    """Look for drops first, then at the fuller map."""
    bpf = _cilium.here(view)
    if bpf is None:
        return not_applicable(_cilium.HERE)
    found = _cilium.fills(view, _cilium.NAT, view.threshold("high_share"), view.threshold("full_share"))
    dropped = (bpf.delta or {}).get(_cilium.NO_MAPPING, 0)
    share = found[0].share if found else 0.0
    evicting = bool(found) and found[0].evicting
    evidence = {
        "maps": _cilium.shown(found),
        "dropped": dropped,
        "ever": bpf.totals.get(_cilium.NO_MAPPING, 0),
        "seconds": view.snapshot.interval,
    }
    if not dropped and share < view.threshold("risk_share"):
        if why := _cilium.uncounted(view, _cilium.NAT):
            return unknown(why)
        if not found:
            return not_applicable("Cilium translates no addresses here: it has no such map")
        return passed(f"{found[0].table.name} is {share:.0%} full", **evidence)
    if dropped:
        summary = (
            f"{_say.plural(dropped, 'packet')} dropped in {_say.window(view)}: no source port left to translate to"
        )
    else:
        table = found[0].table
        summary = f"{table.name}: {table.used} of {table.max} ({share:.0%})"
    see = _cilium.counting(view, found[0].table) if found and not dropped else _cilium.dropping()
    return view.fail(
        Grade.ACTIVE if dropped or evicting else Grade.RISK,
        summary,
        severity=Severity.HIGH if dropped or evicting or share >= view.threshold("high_share") else None,
        evidence=evidence,
        reproduce=see,
        disproof="Reason 167 stands still, and the pods' connections to the outside are made.",
        owner="cilium",
        advice=(
            "See which target has the most: `cilium-dbg bpf nat list`. Reuse connections to it, or give the node more "
            "addresses to translate to. Where the map is full, raise bpf-nat-global-max, one node at a time."
        ),
        cause="Cilium runs out of NAT mappings",
    )
