"""No rule of kube-proxy drops replies of a path that is asymmetric.

What it reads
    The rule of chain KUBE-FORWARD that drops INVALID packets, with its counter; which mode kube-proxy runs in;
    ``nf_conntrack_tcp_be_liberal``; ``hostaudit_asymmetric`` of the inventory.

Why it matters
    kube-proxy's iptables mode drops INVALID packets on their way through the node, so that late packets of a
    connection do not reach a pod without their translation. A node on one half of an asymmetric path (another node
    answers the client directly) drops that half. The rule is left out only if ``nf_conntrack_tcp_be_liberal`` is not
    0 at the moment kube-proxy starts; set later it changes nothing, and a rule that is deleted comes back.

Active when
    The rule dropped ``active_packets`` or more between the samples, and more than ``noise_share`` of what the node
    forwards; one packet where the path is declared asymmetric. It is a risk where asymmetry is declared, and low
    where ``be_liberal`` is set and the rule is there all the same, so that whoever set it thinks it is gone. Without
    either it is kube-proxy's normal state.

How it is remedied
    In kube-proxy's ConfigMap: ``conntrack.tcpBeLiberal: true`` (1.29 and later) or ``mode: nftables``, then a restart.

Fix safety
    With ``be_liberal`` segments outside the window are translated and forwarded instead of dropped: what the rule was
    made for does not happen then. It does not make a SYN-ACK valid whose SYN went elsewhere; it only lets it pass.

References
    https://github.com/kubernetes/kubernetes/pull/74840
    https://github.com/kubernetes/kubernetes/pull/120412
    https://github.com/kubernetes/kubernetes/issues/94861
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _loosen, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"


@check(reads=("firewall", "sysctl"), severity=Severity.HIGH, thresholds={"active_packets": 3, "noise_share": 0.01})
def evaluate(view: View) -> Finding:
    """Judge kube-proxy's rule alone; others are conntrack-invalid-drop's."""
    firewall = view.snapshot.firewall
    assert firewall is not None  # noqa: S101 - reads
    rules = [rule for rule in firewall.invalid if rule.chain == "KUBE-FORWARD" and rule.hooks]
    liberal = _say.number(view.snapshot.sysctl, _LIBERAL)
    evidence = {"mode": firewall.kube_proxy, _LIBERAL: liberal}
    if not rules:
        if not firewall.kube_proxy:
            return not_applicable("kube-proxy has no rules on this host")
        return passed("kube-proxy's rules do not drop INVALID packets", **evidence)
    moved = sum(rule.delta or 0 for rule in rules)
    delta = (view.snapshot.counters.delta if view.snapshot.counters else None) or {}
    noise = view.threshold("noise_share") * (delta.get("Ip.ForwDatagrams", 0) + delta.get("Ip6.OutForwDatagrams", 0))
    declared = view.host.asymmetric
    active = moved >= (1 if declared else max(view.threshold("active_packets"), noise))
    if active:
        summary = f"KUBE-FORWARD dropped {_say.plural(moved, 'INVALID packet')} in {_say.window(view)}"
        cause = "KUBE-FORWARD drops INVALID, and did so now"
    elif declared:
        summary = cause = "KUBE-FORWARD drops INVALID on a path declared asymmetric"
    elif liberal:
        summary = "be_liberal is set, but kube-proxy started before: its drop is still there"
        cause = "be_liberal was set after kube-proxy started"
    else:
        return passed("KUBE-FORWARD drops INVALID, and nothing says that a path is asymmetric", **evidence)
    tools = dict.fromkeys(_say.iptables(rule) for rule in rules)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.HIGH if active or declared else Severity.LOW,
        evidence={
            **evidence,
            "rules": [{"rule": r.text, "family": r.family, "packets": r.packets, "delta": r.delta} for r in rules],
            "declared": declared,
            "seconds": view.snapshot.interval,
        },
        reproduce=_say.shell(
            view, f"{_say.twice('; '.join(f'{tool} -nvxL KUBE-FORWARD' for tool in tools))}; sysctl {_LIBERAL}"
        ),
        disproof="The counter stands still while a client that times out tries again.",
        owner="kube-proxy",
        advice=_loosen.of("kube-proxy"),
        cause=cause,
    )
