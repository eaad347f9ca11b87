"""Somebody answers ARP for each virtual address.

What it reads
    ARP probes of ``hostaudit run --probe`` for every address of ``hostaudit_vips``, from vantage points on its
    segment, several times.

Why it matters
    An address for which nobody answers is a promise that nobody keeps: the Service has it, the lease has a holder,
    DNS names it, and no packet ever leaves the client's segment.

Active when
    Nobody answered any of the probes. Proxy ARP does not answer such a probe, nor does a host with ``arp_ignore`` of 2
    or more: where the address is answered for in this way, waive this check.

How it is remedied
    See who should answer. With Cilium, the holder of the lease may have no entry to answer from (its agent is to be
    restarted); with MetalLB, no speaker may be allowed to announce; on Proxmox, an address filter of the guest drops
    the answer (``pve-ipfilter-drops-vip``).

Fix safety
    Restarting one agent moves the addresses that it holds, which is what they need.

References
    https://www.rfc-editor.org/rfc/rfc5227
    https://docs.cilium.io/en/stable/network/l2-announcements/
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
    """Look for addresses that nobody answers for."""
    findings = _arp.unknown(fleet)
    for address, members in _arp.answered(fleet).items():
        if any(one.owners for one in members):
            findings.append(_probe.fine(f"somebody answers for {address}", (one.vantage for one in members)))
            continue
        findings.append(
            _probe.failed(
                fleet,
                (one.vantage for one in members),
                f"nobody answers ARP for {address}",
                evidence={"answers": _arp.evidence(members)},
                reproduce=_arp.command(members[0]),
                disproof="The command hears an answer.",
                advice="See who should: the lease's holder and its agent, MetalLB's speakers, a guest's ipfilter.",
                cause="nobody answers for a virtual address",
            )
        )
    return findings
