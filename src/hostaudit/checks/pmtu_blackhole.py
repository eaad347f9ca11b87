"""Packets that are too large for a path are answered by an ICMP error, not by silence.

What it reads
    Probes of ``hostaudit run --probe``: packets with DF set to every address of ``hostaudit_vips``, of 1500 bytes (or
    what the vantage point's link takes) and, where one is lost, of sizes below.

Why it matters
    Ping works, a connect works, a small answer works; a download, a TLS handshake with many certificates or a git push
    hangs. The sender is told nothing, so it sends the same large packet again and again.

Active when
    Small packets are answered, larger ones vanish, and no ICMP error says why. An error of this host's own kernel
    (its route or interface takes no more) is no black hole, nor is a router's "fragmentation needed".

How it is remedied
    Let ICMP type 3 code 4 and ICMPv6 type 2 through where they are dropped; or give the links of the path one MTU
    (``mtu-mismatch``, ``mtu-tunnel-overhead``); or clamp the MSS where the tunnel begins. Until then
    ``net.ipv4.tcp_mtu_probing=1`` on the sender helps TCP.

Fix safety
    Accepting those ICMP types opens nothing else. A smaller MTU costs a little throughput; a larger one on one host
    alone makes another black hole.

References
    https://www.rfc-editor.org/rfc/rfc1191
    https://www.rfc-editor.org/rfc/rfc2923
    https://www.rfc-editor.org/rfc/rfc8899
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hostaudit.checks import _probe, _say, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding
    from hostaudit.probed import Mtu


@fleet_check(reads=("probes",), severity=Severity.HIGH)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Look for paths on which large packets vanish."""
    groups: dict[str, list[Mtu]] = {}
    for one in _probe.seen(fleet).mtu:
        groups.setdefault(one.address, []).append(one)
    findings = []
    for address, members in groups.items():
        holes = [one for one in members if one.verdict == "black-hole"]
        answered = [one for one in members if one.verdict not in {"no-answer", "untried"}]
        if not answered:
            reason = next((one.error for one in members if one.error), "no answer, not even to a small packet")
            findings.append(_probe.not_known(f"{address}: {reason}", (one.vantage for one in members)))
        elif not holes:
            largest = min(one.mtu or 0 for one in answered)
            text = f"packets of {largest} bytes reach {address}, and larger ones are answered"
            findings.append(_probe.fine(text, (one.vantage for one in answered)))
        else:
            worst = min(holes, key=lambda one: one.mtu or 0)
            small, large = (worst.mtu or 0) - 28, (worst.lost or 0) - 28
            where = _say.quote(address)
            findings.append(
                _probe.failed(
                    fleet,
                    (one.vantage for one in holes),
                    f"packets above {worst.mtu} bytes to {address} vanish in silence",
                    evidence={"paths": [asdict(one) for one in members]},
                    reproduce=f"ping -c 3 -M do -s {small} {where}; ping -c 3 -M do -s {large} {where}",
                    disproof="The second command is answered as well, or by an error that names an MTU.",
                    advice=(
                        "Find the link that takes no more: mtu-mismatch and mtu-tunnel-overhead on its hosts, "
                        "and what drops ICMP type 3 code 4 on its routers. tcp_mtu_probing=1 helps TCP until then."
                    ),
                    cause="large packets vanish, and no ICMP error says so",
                )
            )
    return findings
