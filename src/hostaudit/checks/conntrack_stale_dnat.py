"""No flow is still sent to a backend that is gone.

What it reads
    Entries of connection tracking whose destination was translated (DNAT) to an address in a network of this host's
    own guests: of a bridge, or of a block of routes. Whether somebody is behind it: the neighbour table, the routes.
    When the entries time out, in both samples.

Why it matters
    An entry keeps the address it was translated to for as long as packets come, whatever the rules say by then. UDP
    clients that keep their port (DNS, syslog, SIP) go on for ever sending to a pod that is gone, while every new
    client is served. Only backends on this host can be judged here: a silent one elsewhere looks like a slow one.

Active when
    Nobody was behind the address in both samples, and packets refreshed an entry to it in between. An entry that only
    waits for its end does no harm and is none.

How it is remedied
    Delete the entries to that address; the next packet is translated anew. Then find why kube-proxy did not do so.

Fix safety
    ``conntrack -D`` narrowed to the dead address touches no other flow. Without the narrowing it cuts every one.

References
    https://github.com/kubernetes/kubernetes/issues/105657
    https://conntrack-tools.netfilter.org/manual.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("firewall",), severity=Severity.HIGH)
def evaluate(view: View) -> Finding:
    """Ask whether packets still go to addresses that nobody is behind."""
    firewall = view.snapshot.firewall
    assert firewall is not None  # noqa: S101 - reads
    if missing := view.unread("firewall.dead_backends"):
        return unknown(f"the backends could not be told: {missing[0].reason}")
    if not firewall.backends_seen and not firewall.kube_proxy:
        return not_applicable("no rule on this host sends packets to backends")
    hit = [one for one in firewall.dead_backends if one.lasting and one.refreshed]
    if not hit:
        waiting = [flow for one in firewall.dead_backends for flow in one.flows]
        return passed("no packet goes to a backend that is gone", waiting_for_their_end=waiting)
    worst = max(hit, key=lambda one: one.refreshed)
    flows = sum(one.refreshed for one in hit)
    return view.fail(
        Grade.ACTIVE,
        f"{_say.plural(flows, 'flow')} still sent to {worst.address}, which is gone"
        + (f" (and {len(hit) - 1} more)" if len(hit) > 1 else ""),
        evidence={
            "backends": [
                {"address": o.address, "why": o.why, "flows": o.flows, "refreshed": o.refreshed, "rules": o.chains}
                for o in hit
            ],
            "seconds": view.snapshot.interval,
        },
        reproduce=_say.shell(
            view,
            _say.twice(f"conntrack -L --reply-src {_say.quote(worst.address)}")
            + f"; ip neigh show {_say.quote(worst.address)}; ip route get {_say.quote(worst.address)}",
        ),
        disproof=f"`ip neigh` shows {worst.address} as REACHABLE, or a reply comes from it.",
        owner="kube-proxy" if firewall.kube_proxy else "",
        advice=(
            f"`conntrack -D --reply-src {worst.address}` deletes these entries and no others; the next packet is "
            "translated anew. If rules still name the address, first see service-endpoint-stale."
        ),
        cause="flows are still sent to backends that are gone",
    )
