"""The messages of path MTU discovery pass where the connections that need them pass.

What it reads
    Every packet filter (legacy and nft iptables, nftables; IPv4, IPv6, bridge). The agent sends two packets through
    the rules in thought: a TCP segment of an established connection, and the ICMP message (type 3 code 4, or ICMPv6
    packet-too-big; state RELATED) that says that it was too large. Named is where the first is accepted by rules that
    never take the second, or where a rule about ICMP drops it. Counters of that rule, ``Ip.FragFails``,
    ``TcpExt.TCPTimeouts``.

Why it matters
    TCP sends segments as large as its own link takes. A router with a smaller link drops them and says so by ICMP.
    Where that message is dropped, the sender repeats the same segment for ever: connections open, small answers
    come, and the first large one hangs. Whoever pings sees a healthy path.

Active when
    The host routes and refused packets as too large between the samples (``Ip.FragFails``, ``Ip6.FragFails``) while
    its own messages about it die; or a rule that takes nothing but ICMP dropped ``active_packets`` or more on their
    way through; on their way to the host itself only where TCP also ran into timeouts. Without movement it is a risk.
    Rules on the way through, and those for what the host says itself, count only where it routes.

How it is remedied
    By hand, at the owner of the rule: accept RELATED with ESTABLISHED, or the one message, before whatever drops.

Fix safety
    Nothing is interrupted. The message only lowers the sender's segment size for one destination; the kernel looks
    whether the connection that it quotes exists.

References
    https://www.rfc-editor.org/rfc/rfc1191
    https://www.rfc-editor.org/rfc/rfc4890
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _invalid, _loosen, _say, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import TooBigDrop

_FORWARDING = {"ip": "net.ipv4.ip_forward", "ip6": "net.ipv6.conf.all.forwarding"}
_REFUSED = {"ip": "Ip.FragFails", "ip6": "Ip6.FragFails"}
_MESSAGE = {"ip": "ICMP fragmentation-needed", "ip6": "ICMPv6 packet-too-big"}
_ACCEPT = {"ip": "icmp --icmp-type fragmentation-needed", "ip6": "icmpv6 --icmpv6-type packet-too-big"}
_NFT = {"ip": "icmp type destination-unreachable", "ip6": "icmpv6 type packet-too-big"}


@check(reads=("firewall", "sysctl", "link"), severity=Severity.MEDIUM, thresholds={"active_packets": 1})
def evaluate(view: View) -> Finding:
    """Judge where such messages die."""
    assert view.snapshot.firewall is not None  # noqa: S101 - reads
    met = [drop for drop in view.snapshot.firewall.too_big if _met(view, drop)]
    if not met:
        missing = [u for u in view.unread("firewall.") if "/" in u.surface or "nftables" in u.surface]
        if missing:
            return unknown(f"rules may hide in {missing[0].surface.partition('.')[2]}: {missing[0].reason}")
        return passed("no rule drops the messages of path MTU discovery where connections pass")
    worst = max(met, key=lambda drop: (_proof(view, drop) != "", drop.icmp_only, not drop.narrowed))
    proof = _proof(view, worst)
    some = " on some interfaces" if worst.narrowed else ""
    return view.fail(
        Grade.ACTIVE if proof else Grade.RISK,
        _summary(worst, proof) if proof else f"{_where(worst)} drops {_MESSAGE[worst.family]}{some}",
        severity=Severity.HIGH if proof else Severity.LOW if worst.narrowed else Severity.MEDIUM,
        evidence={
            "dropped_by": [
                {
                    "rule": f"{d.backend} {d.family} {d.table} {d.chain} {d.index or 'policy'}: {d.text}",
                    "hook": d.hook,
                    "packets": d.packets,
                    "delta": d.delta,
                    "owner": _owner(d),
                }
                for d in met
            ],
            "refused_as_too_large": {name: _delta(view, name) for name in _REFUSED.values()},
            "seconds": view.snapshot.interval,
        },
        reproduce=_say.shell(view, f"{_say.twice(_listing(worst))}; nstat -az IpFragFails TcpExtTCPTimeouts"),
        disproof="`tracepath TARGET` over a path with a smaller link shows its pmtu; or a large transfer completes.",
        owner=_owner(worst),
        advice=_advice(worst),
        cause=f"{worst.hook} drops the messages of path MTU discovery ({worst.family})",
    )


def _met(view: View, drop: TooBigDrop) -> bool:
    """Say whether there are connections that need what dies here."""
    if drop.hook in ("input", "prerouting", "ingress"):
        return True
    routes = bool(_say.number(view.snapshot.sysctl, _FORWARDING[drop.family]))
    return routes or (drop.hook == "forward" and "bridged" in _invalid.paths(view.snapshot))


def _delta(view: View, name: str) -> int:
    return ((view.snapshot.counters.delta if view.snapshot.counters else None) or {}).get(name, 0)


def _proof(view: View, drop: TooBigDrop) -> str:
    """Return what was seen to be lost; empty: nothing."""
    refused = _delta(view, _REFUSED[drop.family])
    if drop.hook in ("output", "postrouting") and refused:
        return f"{_say.plural(refused, 'packet')} too large, the sender not told"
    if drop.icmp_only and (drop.delta or 0) >= view.threshold("active_packets"):
        local = drop.hook in ("input", "prerouting", "ingress")
        if not local or _delta(view, "TcpExt.TCPTimeouts"):
            return f"{drop.delta} ICMP dropped in {_say.window(view)}"
    return ""


def _where(drop: TooBigDrop) -> str:
    name = drop.chain if len(drop.chain) <= 20 else drop.chain[:17] + "..."
    return f"the policy of {name}" if not drop.index else name


def _summary(drop: TooBigDrop, proof: str) -> str:
    return f"{_where(drop)} hides small MTUs: {proof}"


def _owner(drop: TooBigDrop) -> str:
    return _loosen.maker(drop.backend, drop.table, drop.chain)


def _listing(drop: TooBigDrop) -> str:
    chain, table = _say.quote(drop.chain), _say.quote(drop.table)
    if drop.backend == "nftables":
        return f"nft -a list table inet {table} 2>/dev/null || nft -a list table {drop.family} {table}"
    return f"{_say.iptables(drop)} -t {table} -nvxL {chain}"


def _advice(drop: TooBigDrop) -> str:
    if drop.backend == "nftables":
        rule = f"`{_NFT[drop.family]} accept`"
    else:
        tool = "ip6tables" if drop.family == "ip6" else "iptables"
        rule = f"`{tool} -I {drop.base if drop.table == 'filter' else drop.chain} -p {_ACCEPT[drop.family]} -j ACCEPT`"
    owner = _owner(drop)
    where = f" {owner} makes this rule: put it into its configuration." if owner else ""
    return (
        f"Accept it before what drops: {rule}, or RELATED together with ESTABLISHED.{where} Until then "
        "`net.ipv4.tcp_mtu_probing=1` on the senders, or a clamp of the MSS, keeps TCP going."
    )
