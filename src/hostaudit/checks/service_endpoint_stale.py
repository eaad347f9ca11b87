"""No rule sends new connections to a backend that is gone.

What it reads
    The addresses that DNAT rules send packets to (KUBE-SEP chains, endpoint chains of kube-proxy's nftables mode,
    published ports), as far as they lie in networks of this host's own guests; the neighbour table and the routes
    that say whether somebody is behind them; the rules' counters.

Why it matters
    A Service with one dead backend of ten fails every tenth connection, and the retry works: it is taken for the
    network. Rules lag behind where kube-proxy is slow, waits for a lock, or no longer hears from the API server.

Active when
    Nobody was behind the address in both samples and its rule sent new connections there in between. Without such
    connections it is a risk. A backend that nobody uses is not judged: the kernel asks for a neighbour only when it
    has a packet for it. Backends on other nodes are judged there.

How it is remedied
    By hand: find why kube-proxy is behind. Nothing here should be deleted from its rules: it writes them again.

Fix safety
    Restarting kube-proxy writes all rules anew; established connections survive it.

References
    https://kubernetes.io/docs/reference/networking/virtual-ips/
    https://docs.kernel.org/networking/ip-sysctl.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("firewall",), severity=Severity.MEDIUM)
def evaluate(view: View) -> Finding:
    """Ask whether rules name addresses that nobody is behind."""
    firewall = view.snapshot.firewall
    assert firewall is not None  # noqa: S101 - reads
    if missing := view.unread("firewall.dead_backends"):
        return unknown(f"the backends could not be told: {missing[0].reason}")
    if not firewall.backends_seen:
        return not_applicable("no rule on this host sends packets to backends")
    stale = [one for one in firewall.dead_backends if one.lasting and one.chains]
    if not stale:
        return passed("no backend in use on this host is gone", backends=firewall.backends_seen)
    worst = max(stale, key=lambda one: one.delta or 0)
    sent = sum(one.delta or 0 for one in stale)
    more = f" (and {len(stale) - 1} more)" if len(stale) > 1 else ""
    return view.fail(
        Grade.ACTIVE if sent else Grade.RISK,
        f"{_say.plural(sent, 'connection')} sent to {worst.address}, which is gone{more}"
        if sent
        else f"rules name {worst.address}, which is gone{more}",
        severity=Severity.HIGH if sent else Severity.MEDIUM,
        evidence={
            "backends": [{"address": o.address, "why": o.why, "rules": o.chains, "delta": o.delta} for o in stale],
            "backends_seen": firewall.backends_seen,
            "seconds": view.snapshot.interval,
        },
        reproduce=_say.shell(
            view,
            f"{{ iptables-save -c -t nat; nft list ruleset; }} | grep -F {_say.quote(worst.address)}; "
            f"ip neigh show {_say.quote(worst.address)}; ip route get {_say.quote(worst.address)}",
        ),
        disproof=f"`ip neigh` shows {worst.address} as REACHABLE, or it answers a connection.",
        owner="kube-proxy" if firewall.kube_proxy else "",
        advice=(
            "Compare with `kubectl get endpointslices -A`. Named there: the pod is dead and still called ready. Not "
            "named: kube-proxy is behind; see its log, `curl -s http://127.0.0.1:10256/healthz`, and "
            "xtables-lock-contention."
        ),
        cause="rules send connections to backends that are gone",
    )
