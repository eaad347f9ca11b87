"""Cilium's datapath drops no packets for want of something.

What it reads
    ``cilium_metrics``, the drops by reason, before and after: those that say that something is missing on the node (a
    backend, a tunnel endpoint, a route, the first fragment), not those that say that a packet was forbidden.

Why it matters
    These drops happen in BPF programs, before or instead of the kernel's own path: no counter of interface, netfilter
    or protocol moves, and ``tcpdump`` on the pod's interface shows packets that leave and never come back.

Active when
    ``active_packets`` or more of these reasons together between the samples; fewer pass, with their numbers as
    evidence. A map that takes no entry and a translation without a port are ``cilium-ct-insert-failed`` and
    ``cilium-nat-exhausted``. Denied by policy (133, 181) is shown and not judged: it is often true, and not the cause.

How it is remedied
    By the reason. 158: a Service without ready endpoints. 160: the peer's node is not known to the agent. 169: a route
    is missing or points to an interface without Cilium. 157, 175: fragments, so look for the path's MTU. 193: DSR with
    a protocol that its tunnel cannot carry. 196: a loop.

Fix safety
    Look first. Restarting the agent loads the programs anew, and hides the reason.

References
    https://docs.cilium.io/en/stable/operations/troubleshooting/
    https://github.com/cilium/cilium/blob/main/bpf/lib/drop_reasons.h
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _cilium, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_ADVICE = {
    "158": "A Service has no backend: `kubectl get endpointslices` and the agent's log.",
    "160": "A node is not known to Cilium's agent here: `cilium-dbg bpf tunnel list`, `cilium-dbg node list`.",
    "169": "No route for it: `ip route get` with the packet's addresses, and the interfaces that Cilium attached to.",
    "157": "Fragments: find the smaller MTU on the path (`hostaudit probe mtu`).",
    "175": "Fragments whose first one never came: find the smaller MTU on the path (`hostaudit probe mtu`).",
    "163": "Packets of connections in a state that Cilium does not know: after an upgrade, drain the node and restart.",
    "193": "DSR cannot carry this protocol: loadBalancer.dsrDispatch=geneve, or loadBalancer.mode=snat.",
    "196": "Packets go round: `hostaudit trace` shows between which hosts.",
}


@check(reads=("bpf",), severity=Severity.HIGH, thresholds={"active_packets": 5})
def evaluate(view: View) -> Finding:
    """Look which reasons move."""
    bpf = _cilium.here(view)
    if bpf is None:
        return not_applicable(_cilium.HERE)
    delta = bpf.delta or {}
    ours = sorted(((n, reason) for reason, n in delta.items() if reason in _ADVICE), reverse=True)
    number = sum(n for n, _ in ours)
    evidence = {
        "reasons": {_cilium.name(reason): n for reason, n in delta.items()},
        "ever": {_cilium.name(reason): n for reason, n in bpf.totals.items()},
        "seconds": view.snapshot.interval,
    }
    if number < view.threshold("active_packets"):
        denied = sum(n for reason, n in delta.items() if reason in _cilium.POLICY)
        said = f"; {_say.plural(denied, 'packet')} denied by policy" if denied else ""
        return passed(f"{_say.plural(number, 'drop')} for want of something in {_say.window(view)}{said}", **evidence)
    first = ours[0][1]
    return view.fail(
        Grade.ACTIVE,
        f"{_say.plural(number, 'packet')} dropped by Cilium in {_say.window(view)}: {_cilium.name(first)}",
        evidence=evidence,
        reproduce=_cilium.dropping(),
        disproof="The numbers stand still while what fails is tried again.",
        owner="cilium",
        advice=f"{_ADVICE[first]} Which packets: `cilium-dbg monitor --type drop` in this node's pod of Cilium.",
        cause=f"Cilium: {_cilium.REASONS[first]}",
    )
