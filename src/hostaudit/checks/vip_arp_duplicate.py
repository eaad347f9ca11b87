"""One machine answers ARP for each virtual address, not two.

What it reads
    ARP probes (RFC 5227: the sender is 0.0.0.0, so that no neighbour learns anything) of ``hostaudit run --probe`` for
    every address of ``hostaudit_vips``, from vantage points on its segment, several times.

Why it matters
    Which of the two a client talks to is decided by whose answer came last. Connections break when that changes, and a
    service works from one client and not from the other. Each of the two is right by its own state; only somebody on
    the segment who asks hears both.

Active when
    Two MAC addresses answered, and not merely one after the other (that is ``vip-arp-flap``).

How it is remedied
    By cause. kube-proxy with IPVS needs ``ipvs.strictARP: true``. MetalLB's speakers that do not hear each other
    (7946, TCP and UDP) all announce. With direct server return, a backend answers that should not: ``arp_ignore=1``
    and ``arp_announce=2`` there. Or somebody gave the address to an interface by hand.

Fix safety
    Neighbours keep the address that they learned until it ages; the right owner can announce itself (``arping -U``).

References
    https://www.rfc-editor.org/rfc/rfc5227
    https://metallb.io/concepts/layer2/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _arp, _probe, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.HIGH)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Count who answers."""
    findings = _arp.unknown(fleet)
    for address, members in _arp.answered(fleet).items():
        several = [one for one in members if len(one.owners) > 1 and not one.changes]
        if not several:
            if any(one.owners and not one.changes for one in members):
                findings.append(_probe.fine(f"one machine answers for {address}", (one.vantage for one in members)))
            continue
        macs = sorted({owner.mac for one in several for owner in one.owners})
        findings.append(
            _probe.failed(
                fleet,
                (one.vantage for one in several),
                f"{len(macs)} machines answer ARP for {address}",
                evidence={"answers": _arp.evidence(members), "known": _arp.known(fleet, macs)},
                reproduce=_arp.command(several[0]),
                disproof="The command hears one MAC address only.",
                advice=(
                    f"Find the machines of {', '.join(macs)} and leave the address to one: strictARP with IPVS, "
                    "MetalLB's memberlist (7946, TCP and UDP), arp_ignore=1 on the backends of direct server return."
                ),
                cause="two machines answer for one address",
            )
        )
    return findings
