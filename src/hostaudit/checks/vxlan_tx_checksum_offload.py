"""Packets in VXLAN tunnels arrive with a good checksum.

What it reads
    Tunnels of kind ``vxlan`` and whether they compute checksums late (``tx-checksum-ip-generic``); ``Udp.InCsumErrors``
    of two samples; the kernel's release; from its log ``UDP: bad checksum``, where that is switched on.

Why it matters
    Some kernels and drivers write a wrong checksum into the outer UDP header when a packet is translated on its way
    into the tunnel. The receiver drops it and says nothing; a later retransmission may pass, so connections take 1, 3
    or 63 seconds. The fault is the sender's, the counter is the receiver's.

Active when
    This host has a VXLAN tunnel, and dropped ``active_packets`` UDP packets or more for their checksum between the
    samples. Without that it is a risk, low, where a tunnel computes late on a kernel before 5.7, which has the
    fault together with ``MASQUERADE --random-fully``; kernels of RHEL have the fix.

How it is remedied
    Advice: on the senders, `ethtool -K <tunnel> tx-checksum-ip-generic off`, kept by a udev rule or by the CNI.

Fix safety
    It takes effect at once; the processor then computes the checksum, a few percent of a core for each Gbit/s.

References
    https://github.com/flannel-io/flannel/blob/master/Documentation/troubleshooting.md
    https://github.com/projectcalico/felix/pull/2811
    https://github.com/kubernetes/kubernetes/pull/92035
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _kernellog, _links, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_COUNTER = "Udp.InCsumErrors"
_FIXED = (5, 7)


@check(reads=("device", "link", "counters"), severity=Severity.MEDIUM, thresholds={"active_packets": 1})
def evaluate(view: View) -> Finding:
    """Look for bad checksums where a tunnel ends here, and for tunnels that may send them."""
    table, devices, counters = view.snapshot.link, view.snapshot.device, view.snapshot.counters
    assert table is not None  # noqa: S101 - reads
    assert devices is not None  # noqa: S101 - reads
    assert counters is not None  # noqa: S101 - reads
    tunnels = {link.name: link.details.get("port", "") for link in _links.up(table) if link.kind == "vxlan"}
    if not tunnels:
        return not_applicable("no VXLAN tunnel")
    late = sorted(device.name for device in devices.devices if device.name in tunnels and device.tx_checksum)
    bad = (counters.delta or {}).get(_COUNTER, 0)
    active = bad > 0 and bad >= view.threshold("active_packets")
    evidence = {
        "tunnels": tunnels,
        "computed_late": late,
        "bad": {"delta": bad if counters.delta is not None else None, "total": counters.totals.get(_COUNTER)},
        "kernel": view.snapshot.platform.kernel if view.snapshot.platform else "",
        "senders": _senders(view, set(tunnels.values())),
    } | _kernellog.evidence(view, "udp-checksum")
    name = next(iter(late or tunnels))
    if active:
        summary = f"{_say.plural(bad, 'UDP packet')} with a bad checksum in {_say.window(view)}"
    elif late and _faulty(str(evidence["kernel"])):
        summary = f"{name} computes checksums late, on a kernel that gets them wrong"
    else:
        return passed(f"no bad checksum ({_say.plural(len(tunnels), 'VXLAN tunnel')})", **evidence)
    off = f"`ethtool -K {_say.quote(name)} tx-checksum-ip-generic off`"
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary,
        severity=Severity.HIGH if active else Severity.LOW,
        evidence=evidence,
        reproduce=_say.shell(
            view, f"ethtool -k {_say.quote(name)} | grep tx-checksum; {_say.twice('nstat -asz UdpInCsumErrors')}"
        ),
        disproof="UdpInCsumErrors stands still, or its packets are not those of the tunnel (`tcpdump -vvn udp`).",
        advice=f"The senders are at fault: on each node at the other end of the tunnel {off}, and see the counter here "
        "stand still. Keep it by a udev rule, or in the CNI's configuration; or run a newer kernel.",
        cause="UDP packets with a bad checksum" if active else "VXLAN checksum offload on a kernel that gets it wrong",
    )


def _faulty(kernel: str) -> bool:
    release = owners.release(kernel)
    return bool(release) and release < _FIXED and ".el" not in kernel


def _senders(view: View, ports: set[str]) -> dict[str, str]:
    """Return addresses that the kernel's log names as senders, with the host of the cohort that has them."""
    found = {}
    for event in _kernellog.of(view.snapshot.kmsg, "udp-checksum"):
        address, _, port = event.subject.partition(" port ")
        if port in ports:
            having = view.once(_by_address, of_cohort=True).get(address, [])
            found[address] = next((name for name in having if name != view.host.name), "")
    return found


def _by_address(view: View) -> dict[str, list[str]]:
    """Return address -> the hosts of the cohort that have it, by name."""
    found: dict[str, list[str]] = {}
    for one in sorted((view, *view.peers), key=lambda peer: peer.host.name):
        links = one.snapshot.link.links if one.snapshot.link else []
        for address in dict.fromkeys(text.partition("/")[0] for link in links for text in link.addresses):
            found.setdefault(address, []).append(one.host.name)
    return found
