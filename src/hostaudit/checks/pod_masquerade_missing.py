"""Packets of pods leave every node with an address that the network knows.

What it reads
    Networks of pods (bridges and tunnels that a CNI makes), rules that give packets another source on their way out
    (MASQUERADE, SNAT; legacy and nft iptables, nftables) with the source that they ask for, interfaces of pods, TCP
    handshakes that wait for an answer, and the same of the other nodes of the cohort.

Why it matters
    The network outside does not know the pods' addresses. Where the CNI's rule is missing on one node, mostly a new
    one, its pods reach each other and nothing else: the request goes out, no answer finds its way back. Pods on the
    other nodes work, so the application is blamed. KUBE-POSTROUTING is no such rule: it serves Services.

Active when
    Handshakes of pods to addresses outside of their network wait for an answer now. Without them it is a risk.
    Judged by the policy's ``expect``: 1, the default, wants the rule where a majority of the cohort's other nodes with
    pods has one; 2 wants it on every node with pods; 0 on none (routed pods, translation further on). Cilium can do
    it in BPF, which is not seen here: its nodes are judged only by ``expect = 2``. A rule whose source is a set of
    addresses is taken to include the pods.

How it is remedied
    Delete the CNI's pod on that node (``kubectl delete pod``); it writes its rules when it starts.

Fix safety
    The CNI's pod on one node; running pods keep their network meanwhile. Connections that are open without
    translation stay as they are.

References
    https://www.cni.dev/plugins/current/main/bridge/
    https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md
    https://docs.cilium.io/en/stable/network/concepts/masquerading/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _pods, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.checks._links import Network
    from hostaudit.model import Finding

_NOWHERE, _LIKE_PEERS, _EVERYWHERE = 0, 1, 2


@check(reads=("firewall", "link"), severity=Severity.HIGH, thresholds={"expect": _LIKE_PEERS})
def evaluate(view: View) -> Finding:
    """Look for the rule, then at the other nodes."""
    snapshot = view.snapshot
    assert snapshot.link is not None  # noqa: S101 - reads
    pods = _pods.networks(snapshot.link)
    expect = view.threshold("expect")
    if expect == _EVERYWHERE:
        pods = pods or _pods.of_cilium(snapshot.link)
    if view.netns or not pods:
        return not_applicable("no network of pods is here whose translation can be seen")
    if expect == _NOWHERE:
        return not_applicable("the policy expects none (expect = 0)")
    if covering := _pods.covering(snapshot, pods):
        return passed(f"{_pods.cni(covering[0]) or 'a rule'} masquerades pods", rules=[r.text for r in covering[:8]])
    if missing := [u for u in view.unread("firewall.") if "/" in u.surface or "nftables" in u.surface]:
        return unknown(f"the rule may hide in {missing[0].surface.partition('.')[2]}: {missing[0].reason}")
    having, lacking = _peers(view)
    if expect != _EVERYWHERE and len(having) <= len(lacking):
        if having or not lacking:
            return unknown("no rule masquerades pods, and no other nodes say if any should (policy: expect)")
        return passed("no node of the cohort masquerades pods: they are routed", nodes=lacking)
    return _missing(view, pods, having)


def _peers(view: View) -> tuple[dict[str, str], list[str]]:
    """Return the cohort's other nodes with pods: those that have a rule, with its maker, and those that have none."""
    having: dict[str, str] = {}
    lacking = []
    for peer in view.peers:
        maker = peer.once(_maker)
        if maker is not None:
            having[peer.host.name] = maker
        elif peer.once(_has_pods):
            lacking.append(peer.host.name)
    return having, lacking


def _maker(view: View) -> str | None:
    """Return who made the rule that masquerades pods; ``None`` where there is none."""
    if view.snapshot.firewall is None or view.snapshot.link is None:
        return None
    rules = _pods.covering(view.snapshot, _pods.networks(view.snapshot.link))
    return _pods.cni(rules[0]) if rules else None


def _has_pods(view: View) -> bool:
    snapshot = view.snapshot
    return snapshot.firewall is not None and snapshot.link is not None and bool(_pods.networks(snapshot.link))


def _missing(view: View, pods: list[Network], having: dict[str, str]) -> Finding:
    assert view.snapshot.link is not None  # noqa: S101 - reads
    census = view.snapshot.conntrack.census if view.snapshot.conntrack else None
    waiting = [text for text in (census.one_sided if census else []) if _pods.of_pods(text, pods)]
    maker = next((who for who in having.values() if who), "")
    network = str(pods[0]) if pods else "pods"
    return view.fail(
        Grade.ACTIVE if waiting else Grade.RISK,
        f"no rule masquerades {network}"
        + (f", as {_say.plural(len(having), 'node')} do" if having else "")
        + (f": {_say.plural(len(waiting), 'handshake')} waiting" if waiting else ""),
        evidence={
            "pods": [str(n) for n in pods],
            "interfaces_of_pods": _pods.running(view.snapshot.link),
            "waiting": waiting[:8],
            "nodes_that_have_it": having,
        },
        reproduce="iptables-save -t nat | grep -E 'MASQUERADE|SNAT'; nft list ruleset | grep -e masquerade -e snat",
        disproof="A capture on the uplink shows packets of pods leave with the node's address.",
        owner=maker,
        advice=(
            f"Delete the pod of {maker or 'the CNI'} on this node; it writes its rules when it starts. Where pods are "
            "routed on purpose, say so: expect = 0 in [checks.pod-masquerade-missing]."
        ),
        cause="no rule masquerades pods",
    )
