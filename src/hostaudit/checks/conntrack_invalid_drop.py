"""No rule drops packets that are INVALID only because the other half of their flow goes elsewhere.

What it reads
    Every rule that drops or rejects ``ctstate INVALID`` (legacy and nft iptables, nftables), its hooks and its
    counter; bridges, their ports and ``bridge-nf-call-*``; forwarding; conntrack's ``invalid`` statistics where the
    rule has no counter; TCP entries that wait for a SYN-ACK; ``hostaudit_asymmetric`` of the inventory, here and on
    the other hosts of the cohort; what an installed agent saw these rules drop in the last 24 hours.

Why it matters
    A SYN-ACK is INVALID for a host that did not see the SYN: so it is with direct server return (DSR), with VRRP or
    ECMP, with a guest that answers through another hypervisor. Where INVALID is dropped, exactly those connections
    fail that take two paths, and the mixture of success and timeout is blamed on the application. Proxmox VE drops
    INVALID as the first rule of PVEFW-FORWARD, for every bridged packet of the node, not only for guests with
    ``firewall=1``, whose packets pass it twice. Frames that are tagged on a bridge that filters VLANs pass it by.
    Captures mislead: tcpdump on the bridge shows the packet before the rule drops it.

Active when
    The rules' counters grew by ``active_packets`` or more between the samples (by one, where the asymmetry is
    declared); for a rule without a counter, conntrack's ``invalid`` grew so much. A few packets are not an outage: a
    stray RST is INVALID on any host, and with ``firewall=1`` Proxmox loses plain RSTs on its second bridge. On a
    host that only routes, the drops must also be more than ``noise_share`` of what it forwards. Without movement it
    is a risk: high where asymmetry is declared, medium where another host of the cohort drops, or where an installed
    agent saw ``burst_per_minute`` or more, with their time; low on a bridge.

How it is remedied
    Where asymmetry is declared or shown (this host drops while another one waits for the SYN-ACK), role
    ``pve_firewall`` sets ``nf_conntrack_allow_invalid`` on Proxmox, which is needed on all hypervisors of the cohort.
    For kube-proxy, Calico, ufw, firewalld, Docker and rules made by hand the advice says where. Rules of the host's
    own traffic, and PVEFW-HOST-IN, PVEFW-HOST-OUT, PVEFW-Drop and PVEFW-Reject, which drop INVALID whatever the
    option says, are shown and never fail the check.

Fix safety
    Nothing is restarted and no flow is interrupted. What the rule kept out is then left to the guests' own rules, on
    every guest of the node: packets of no known flow (scans with ACK or FIN, late RSTs), and TCP segments outside the
    window, such as blind resets, which a guest's TCP stack has to refuse by itself (RFC 5961). Guests with
    ``firewall=1`` and policy DROP go on dropping them in PVEFW-Drop. That is a trade-off, hence no remedy where nothing
    is declared or shown. Narrower ways are listed with their costs: NOTRACK for the one address, SNAT instead of DSR,
    a symmetric path. Flows that were established before the rule came survive it, so only new handshakes fail, and
    only they prove a fix.

References
    https://pve.proxmox.com/wiki/Firewall
    https://docs.kernel.org/networking/nf_conntrack-sysctl.html
    https://github.com/kubernetes/kubernetes/pull/120412
    https://github.com/firewalld/firewalld/issues/1498
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _guests, _halves, _invalid, _kernellog, _loosen, _ring, _say, _ways, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.checks._invalid import Drops
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import RingSeries


@check(
    reads=("firewall", "link", "sysctl"),
    severity=Severity.HIGH,
    thresholds={"active_packets": 3, "noise_share": 0.01, "burst_per_minute": 30},
)
def evaluate(view: View) -> Finding:
    """Judge the INVALID drops of this host in the light of its cohort."""
    drops = _invalid.of(view)
    if not drops.met:
        return _nothing_met(view, drops)
    mine, cohort = view.host.name, _halves.cohort(view)
    droppers = list(islice((name for name in cohort.dropping if name != mine), _halves.NAMED))
    active = _invalid.dropping(view, drops)
    declared = cohort.declared_for(mine)
    shown = list(islice(_halves.pairs(view, [*([mine] if active else []), *droppers]), _halves.NAMED))
    evidence = _evidence(view, drops) | {"declared": declared, "shown": shown, "peers_dropping": droppers}

    past = _ring.invalid(view, drops)
    judged = _judge(view, drops, past, active=active, declared=bool(declared), droppers=droppers)
    if judged is None:
        return passed(f"{drops.chain} drops INVALID, and nothing says that a path is asymmetric", **evidence)
    severity, situation, summary = judged
    certain = bool(declared or shown)
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=severity,
        evidence=evidence | _kernellog.evidence(view, "invalid-new") | _ring.evidence(view, [past] if past else []),
        reproduce=_loosen.commands(view, drops),
        disproof=(
            "The rule's counter stands still while a client that times out tries again; or a capture shows the "
            "SYN-ACK leave this host by its uplink (direction out), not only cross the bridge."
        ),
        owner=_loosen.owner(drops.met[0]),
        remedy=_loosen.remedy(view, drops) if certain else None,
        advice=_loosen.advice(view, drops, certain=certain, fleet=cohort.readable),
        alternatives=_ways.alternatives(view, drops),
        cause=f"{drops.chain} drops INVALID: {situation}",
    )


def _judge(
    view: View, drops: Drops, past: RingSeries | None, *, active: bool, declared: bool, droppers: list[str]
) -> tuple[Severity, str, str] | None:
    """Return severity, situation (for the cause) and summary; ``None`` where it is no fault."""
    stray = drops.moved > view.threshold("noise_share") * drops.forwarded
    strays = f"{drops.chain} dropped {_say.plural(drops.moved, 'stray INVALID packet')}: no outage"
    if active:
        packets = _say.plural(drops.moved, "INVALID packet")
        verb = "dropped" if drops.counted else "is in force:"
        return Severity.HIGH, "and did so now", f"{drops.chain} {verb} {packets} in {_say.window(view)}"
    if past:
        summary = f"{drops.chain} dropped {_say.plural(past.burst, 'INVALID packet')} {_ring.when(past)}"
        return Severity.HIGH if declared else Severity.MEDIUM, "and did so lately", summary
    if declared:
        return Severity.HIGH, "path declared asymmetric", f"{drops.chain} drops INVALID on a path declared asymmetric"
    if droppers:
        return Severity.MEDIUM, "peers drop now", f"{drops.chain} drops INVALID, and {droppers[0]} does so right now"
    if drops.everything_bridged:
        bridged = f"{drops.chain} drops INVALID packets between guests and the network"
        return Severity.LOW, "bridged", strays if drops.moved else bridged
    return (Severity.LOW, "stray packets", strays) if stray else None


def _nothing_met(view: View, drops: Drops) -> Finding:
    if not (ways := _invalid.paths(view.snapshot)):
        return passed("nothing passes through this host: it neither routes nor bridges")
    if missing := view.unread("firewall."):
        return unknown(f"rules may hide in {missing[0].surface.partition('.')[2]}: {missing[0].reason}")
    evidence = {"ways": list(ways), "always_there": list(drops.always_there), "elsewhere": list(drops.elsewhere)}
    return passed("no rule drops INVALID packets that pass through this host", **evidence)


def _evidence(view: View, drops: Drops) -> dict[str, Any]:
    rules = [
        {
            "rule": f"{rule.backend} {rule.family} {rule.table} {rule.chain} {rule.index}: {rule.text}",
            "packets": rule.packets,
            "delta": rule.delta,
            "owner": _loosen.owner(rule) or "hand or unknown",
        }
        for rule in drops.met
    ]
    guests = _guests.meeting(view.snapshot, lambda bridge: _invalid.tagged_only(view.snapshot, bridge))
    named = {"guests": guests} if guests and not view.netns and "bridged" in drops.ways else {}
    uncounted = {"conntrack_invalid_delta": drops.classified} if drops.classified is not None else {}
    return {
        "rules": rules,
        "ways": list(drops.ways),
        "seconds": view.snapshot.interval,
        "routed_packets": drops.forwarded,
        "always_there": list(drops.always_there),
        "elsewhere": list(drops.elsewhere),
    } | {**uncounted, **named}
