"""The owner of each virtual address stays the same.

What it reads
    ARP probes of ``hostaudit run --probe`` for every address of ``hostaudit_vips``, several times: which MAC address
    answers each time.

Why it matters
    With each move every open connection breaks, and neighbours send to the old owner until they learn the new one. An
    address that moves back and forth is a leader election that never settles.

Active when
    The MAC address that answers changed ``active_changes`` times or more while it was watched. The probe of a run
    takes about two seconds and sees only a fast flap; ``hostaudit probe arp --asks 100 --wait 3`` watches for minutes.

How it is remedied
    Find why the owner gives up: a speaker that restarts or is killed for memory, a node that turns NotReady, an API
    server that throttles the renewal of leases, or two instances of keepalived with the same priority.

Fix safety
    Looking is harmless. Do not pin the address while its cause works on: the pinned owner may be the one that fails.

References
    https://metallb.io/concepts/layer2/
    https://docs.cilium.io/en/stable/network/l2-announcements/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _arp, _probe, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.HIGH, thresholds={"active_changes": 1})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Look for changes of the owner."""
    findings = _arp.unknown(fleet)
    for address, members in _arp.answered(fleet).items():
        moved = [one for one in members if one.changes and one.changes >= fleet.threshold("active_changes")]
        if not moved:
            if any(one.owners for one in members):
                findings.append(_probe.fine(f"the owner of {address} stayed", (one.vantage for one in members)))
            continue
        macs = sorted({owner.mac for one in moved for owner in one.owners})
        findings.append(
            _probe.failed(
                fleet,
                (one.vantage for one in moved),
                f"{address} changed its owner {max(one.changes for one in moved)} times while it was watched",
                evidence={"answers": _arp.evidence(members), "known": _arp.known(fleet, macs)},
                reproduce=f"hostaudit probe arp {address} --asks 100 --wait 3",
                disproof="The same MAC address answers for five minutes.",
                advice="Find why the owner gives the address up: restarts, memory limits, NotReady, throttled leases.",
                cause="the owner of a virtual address changes",
            )
        )
    return findings
