"""Clients beside a backend get their answers from the address that they called.

What it reads
    Rules that translate the destination of packets (DNAT; those of Services are left out), rules that translate their
    source, the networks of this host's interfaces, whether frames of its bridges meet connection tracking, and TCP
    handshakes that wait for an answer.

Why it matters
    A router, a hypervisor or a load balancer sends what comes to one address to a backend, and keeps the client's. A
    client in the backend's own network is answered by the backend directly, from an address that it never called, and
    resets the connection. From everywhere else it works: it fails only from beside the backend, and a restart that
    moves one of the two "mends" it. Load balancers of a cloud that keep the client's address do the same to a pod that
    lands on its own node; that is not to be seen on a host.

Active when
    Never: rules and networks show that it can happen. Handshakes of that network to that address which wait now make it
    medium instead of low; a backend that is dead leaves the same. ``hostaudit trace`` proves it, verdict
    ``reply-from-other-source``, and names the rule.

How it is remedied
    By a person: translate the source of what goes from that network back into it (MASQUERADE), or let clients there
    call the backend's own address (split DNS). Where a bridge is between them, ``bridge-nf-call-iptables`` will do.
    For a load balancer of a cloud: ``preserve_client_ip.enabled=false``, or IP targets.

Fix safety
    With the source translated, the backend no longer sees who calls from its own network.

References
    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html
    https://www.netfilter.org/documentation/HOWTO/NAT-HOWTO-10.html
    https://www.rfc-editor.org/rfc/rfc4787#section-6
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from hostaudit.checks import _hairpin, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.checks._hairpin import Way
    from hostaudit.model import Finding


@check(reads=("firewall", "link"), severity=Severity.LOW)
def evaluate(view: View) -> Finding:
    """Look for rules whose answers do not come back through this host."""
    found = _hairpin.ways(view.snapshot)
    missing = [u for u in view.unread("firewall.") if "/" in u.surface or "nftables" in u.surface]
    if missing:  # a rule that was not read may translate, and another one may translate the source as well
        return unknown(f"a rule may hide in {missing[0].surface.partition('.')[2]}: {missing[0].reason}")
    if not (rules := _hairpin.translating(view.snapshot)):
        return not_applicable("no rule on this host translates destinations, but those of Services")
    if not found:
        return passed("answers of every translated address come back through this host", rules=len(rules))
    waiting = {id(way): _waiting(view, way) for way in found}
    worst = max(found, key=lambda way: len(waiting[id(way)]))
    now = waiting[id(worst)]
    return view.fail(
        Grade.RISK,
        f"{worst.network} is answered by {worst.to}, not by {worst.called}"
        + (f": {_say.plural(len(now), 'handshake')} waiting" if now else ""),
        severity=Severity.MEDIUM if now else Severity.LOW,
        evidence={
            "ways": [
                {"rule": w.rule.text, "chain": w.rule.chain, "to": w.to, "network": str(w.network), "by": w.interface}
                for w in found[:16]
            ],
            "waiting": now[:8],
        },
        reproduce=_say.shell(
            view, "{ iptables-save -t nat; nft list ruleset; } | grep -i -e dnat -e masquerade -e snat; ip -br addr"
        ),
        disproof=f"From a machine in {worst.network} a connection to {worst.called} works.",
        advice=(
            f"Prove it from a host in {worst.network} with `hostaudit trace ADDRESS:PORT --from HOST`. Then translate "
            f"the source too (MASQUERADE for {worst.network} to {worst.to}), or let names resolve to {worst.to} there."
        ),
        cause="answers of a translated address do not come back",
    )


def _waiting(view: View, way: Way) -> list[str]:
    """Return the handshakes of the network to the address that wait, ``10.0.0.10:4000>192.0.2.1:443``."""
    census = view.snapshot.conntrack.census if view.snapshot.conntrack else None
    found = []
    for text in census.one_sided if census else ():
        source, target = (side.rpartition(":")[0].strip("[]") for side in text.split(">"))
        if ipaddress.ip_address(source) in way.network and way.called in {target, "any address"}:
            found.append(text)
    return found
