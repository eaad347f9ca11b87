"""A router into a narrower tunnel lowers the MSS, or its word about large packets is heard.

What it reads
    Forwarding; tunnels that are up and narrower than another interface of this host; rules that set the MSS (TCPMSS,
    ``tcp option maxseg size set``) on their way through; ``Ip.FragFails``; and whether this host's own filter drops
    the messages of path MTU discovery.

Why it matters
    Clients behind the router open connections for segments that fill their own link. In the tunnel these are too
    large; the router refuses each and says so by ICMP. That is enough where the message arrives. Where it gets lost,
    here or further on, connections hang with their first full segment. A clamp does not depend on ICMP.

Active when
    The router refused ``active_packets`` or more packets as too large between the samples and no rule clamps the way
    into a tunnel: path MTU discovery makes it a few per connection, a sender that hears nothing goes on. It is a risk
    where this host's own filter drops the messages. Otherwise the clamp is not missed: whoever hears ICMP needs none.
    Tunnels that a CNI made are left out: the pods' interfaces are as narrow.

How it is remedied
    Role ``mss_clamp`` on the tunnels, both ways.

Fix safety
    New connections only; those that exist keep their MSS. TCP only: UDP and QUIC need the ICMP message, or a smaller
    MTU. It never raises an MSS.

References
    https://wiki.nftables.org/wiki-nftables/index.php/Mangling_packet_headers
    https://www.rfc-editor.org/rfc/rfc4459
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _links, _mss, _say, check, not_applicable, passed
from hostaudit.checks.mtu_tunnel_overhead import _CNI, _metadata
from hostaudit.model import Grade, Remedy, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Link

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
_REFUSED = ("Ip.FragFails", "Ip6.FragFails")
_OWN = ("output", "forward", "postrouting")


@check(reads=("firewall", "link", "sysctl"), severity=Severity.MEDIUM, thresholds={"active_packets": 3})
def evaluate(view: View) -> Finding:
    """Judge each narrow tunnel."""
    snapshot = view.snapshot
    assert snapshot.firewall is not None  # noqa: S101 - reads
    assert snapshot.link is not None  # noqa: S101 - reads
    if not any(_say.number(snapshot.sysctl, key) for key in _FORWARDING):
        return not_applicable("this host does not route")
    widest = max((link.mtu for link in _links.up(snapshot.link) if not link.overhead), default=0)
    narrow = [link for link in _links.up(snapshot.link) if link.overhead and link.mtu < widest and not _made(link)]
    if not narrow:
        return not_applicable("no tunnel of this host is narrower than the links beside it")
    open_ = [link for link in narrow if not all(_mss.ways(snapshot.firewall, link.name))]
    evidence = {
        "tunnels": {link.name: link.mtu for link in narrow},
        "widest": widest,
        "rules": [rule.text for rule in snapshot.firewall.mss],
    }
    if not open_:
        return passed(f"the MSS is clamped on the way into {narrow[0].name}", **evidence)
    delta = (snapshot.counters.delta if snapshot.counters else None) or {}
    refused = sum(delta.get(name, 0) for name in _REFUSED)
    active = refused >= view.threshold("active_packets")
    silent = [drop.text for drop in snapshot.firewall.too_big if drop.hook in _OWN]
    if not active and not silent:
        return passed(f"{open_[0].name} has no clamp, and its word about large packets is not dropped here", **evidence)
    name = _say.quote(open_[0].name)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"{_say.plural(refused, 'packet')} too large for {open_[0].name} in {_say.window(view)}, and no clamp"
        if active
        else f"no MSS clamp into {open_[0].name}, and ICMP about it is dropped",
        severity=Severity.MEDIUM if active else Severity.LOW,
        evidence={**evidence, "refused": refused, "icmp_dropped_by": silent, "seconds": snapshot.interval},
        reproduce=_say.shell(
            view,
            f"ip link show dev {name}; iptables-save -t mangle | grep TCPMSS; nft list ruleset | grep 'maxseg size'; "
            + _say.twice("nstat -az IpFragFails"),
        ),
        disproof="A large download through the tunnel completes at once, from a client whose link has a larger MTU.",
        remedy=None if view.netns else Remedy("mss_clamp", {"mss_clamp_interfaces": [link.name for link in open_]}),
        advice=(
            "`iptables -t mangle -A FORWARD -o TUNNEL -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`, "
            "and the same with -i; or `tcp flags syn tcp option maxseg size set rt mtu` in a forward chain of nftables."
        ),
        cause="no MSS clamp on the way into a narrow tunnel",
    )


def _made(link: Link) -> bool:
    return _metadata(link) or any(pattern.fullmatch(link.name) for pattern, _ in _CNI)
