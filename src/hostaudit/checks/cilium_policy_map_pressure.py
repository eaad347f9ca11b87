"""The policy maps of Cilium's endpoints have room.

What it reads
    The BPF map ``cilium_policy_*`` of each endpoint: entries, counted, and what it was made for.

Why it matters
    A pod's policy map has an entry for each identity and port that may talk to it, or that it may talk to. A policy
    that selects much (``world``, whole namespaces, wide CIDRs) times many ports fills it. What does not fit is not
    allowed: the policy says yes, the datapath drops for reason 133, and the endpoint stays "not ready".

Active when
    A map is full: the next entry is refused, and the endpoint's policy is not what was asked for. It is a risk from
    ``risk_share`` on, high from ``high_share`` on.

How it is remedied
    Fewer identities: leave labels that differ from pod to pod out of them (``labels`` in cilium-config), and replace
    lists of ports and CIDRs by ranges. Or ``bpf-policy-map-max`` (Helm: ``bpf.policyMapMax``).

Fix safety
    The agents restart; each endpoint's map is made anew and filled before it replaces the old one. A larger map takes
    its memory for each endpoint of the node.

References
    https://docs.cilium.io/en/stable/network/ebpf/maps/
    https://docs.cilium.io/en/stable/operations/performance/scalability/identity-relevant-labels/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _cilium, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("bpf",), severity=Severity.MEDIUM, thresholds={"risk_share": 0.7, "high_share": 0.9})
def evaluate(view: View) -> Finding:
    """Judge the fullest of the endpoints' maps."""
    bpf = _cilium.here(view)
    if bpf is None:
        return not_applicable(_cilium.HERE)
    counted = [table for table in bpf.policies if table.used is not None and table.max]
    worst = max(counted, key=lambda one: (one.used or 0) / one.max, default=None)
    share = (worst.used or 0) / worst.max if worst else 0.0
    if worst is None or share < view.threshold("risk_share"):
        if why := _cilium.uncounted(view, _cilium.ENDPOINTS):
            return unknown(why)
        if worst is None:
            return not_applicable("no endpoint has a policy map here")
        return passed(f"{worst.name}, the fullest, is {share:.0%} full", entries=worst.used, max=worst.max)
    endpoint = worst.name.rpartition("_")[2].lstrip("0")
    full = share >= 1
    return view.fail(
        Grade.ACTIVE if full else Grade.RISK,
        f"{worst.name}: {worst.used} of {worst.max} entries ({share:.0%})",
        severity=Severity.HIGH if share >= view.threshold("high_share") else None,
        evidence={"maps": {one.name: {"entries": one.used, "max": one.max} for one in counted}, "where": bpf.where},
        reproduce=_cilium.counting(view, worst),
        disproof="The endpoint is ready (`cilium-dbg endpoint list`), and nothing that a policy allows is denied.",
        owner="cilium",
        advice=(
            f"See which policies select so much: `cilium-dbg bpf policy get {_say.quote(endpoint)}` in Cilium's pod "
            f"of this node. Then fewer identities, ports and CIDRs, or bpf-policy-map-max above {worst.max}."
        ),
        cause="a policy map of Cilium is full" if full else "a policy map of Cilium fills up",
    )
