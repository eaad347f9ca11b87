"""Network interfaces and their queues drop next to nothing.

What it reads
    Counters of every interface and of its root queueing discipline in two samples, per network namespace:
    ``rx_dropped``, ``tx_dropped``, ``rx_missed_errors``, ``rx_fifo_errors``, errors, ``qdisc.drops``; and the host's
    ``softnet.dropped``. What an installed agent saw of the interfaces in the last 24 hours.

Why it matters
    A full ring or queue drops whatever comes next, of all connections. Nothing else on the host says so: TCP sends
    again and gets slower, UDP and DNS time out. On a hypervisor, what a tap could not send is what a guest was too busy
    to take.

Active when
    Between the samples a ring lost ``fifo_packets`` packets or more; or an interface or its queue dropped
    ``drop_share`` of its packets, or failed on ``error_share`` of them, where at least ``rx_packets`` came in or
    ``tx_packets`` went out; or the processors' backlog dropped more than ``softnet_per_second``. Totals since boot
    never count. What an installed agent saw in one burst, by the same measures, is a risk, with its time. A quiet
    interface is not judged by its share: a few frames of a protocol that nobody speaks here (LLDP, spanning tree) are
    ``rx_dropped`` too.

How it is remedied
    Advice. Rings, interrupts and queues belong to the driver and to whoever shapes; more is not always better: a longer
    queue turns loss into delay.

Fix safety
    `ethtool -G` takes many links down for a second. Change it in a window, or over another way in.

References
    https://docs.kernel.org/networking/statistics.html
    https://docs.kernel.org/networking/scaling.html
    https://github.com/netdata/netdata/blob/master/src/health/health.d/net.conf
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _devices, _ring, _say, check, passed, unknown
from hostaudit.checks._devices import Loss
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_ADVICE = {
    "ring": "Give it a longer ring (`ethtool -g` and `-G`) and spread its interrupts over more processors.",
    "received": "See which (`ethtool -S`, `dropwatch`): a full backlog, frames of a VLAN or protocol that nobody takes "
    "here, or an XDP program.",
    "queue": "It sends more than the link or the shaper takes: see what fills it, raise the shaper's rate, or move it.",
    "sent": "Behind a tap or veth the guest does not take its packets: look at its processors and its number of "
    "queues. In front of hardware, at the driver's log.",
    "errors": "Bad cable, optic or duplex: compare with the switch's counters for that port (`ethtool -S`).",
    "backlog": "Raise net.core.netdev_max_backlog and net.core.netdev_budget, or spread the load (RPS, more queues).",
}


@check(
    reads=("device",),
    severity=Severity.MEDIUM,
    thresholds={
        "drop_share": 0.02,
        "error_share": 0.01,
        "rx_packets": 10000,
        "tx_packets": 1000,
        "fifo_packets": 1,
        "softnet_per_second": 10,
    },
)
def evaluate(view: View) -> Finding:
    """Judge what was lost between the samples."""
    table = view.snapshot.device
    assert table is not None  # noqa: S101 - reads
    totals = {device.name: lost for device in table.devices if (lost := _devices.lost(device))}
    if view.snapshot.interval <= 0:
        if totals:
            return unknown("one sample only: totals since boot do not tell what happens now")
        return passed("no interface ever dropped a packet")
    found = [loss for device in table.devices for loss in _devices.losses(view, device)]
    found += _backlog(view)
    past = _ring.losses(view)
    if not found and past:
        return _earlier(view, past)
    if not found:
        return passed(f"next to nothing was dropped in {_say.window(view)}", totals=totals)
    worst = max(found, key=lambda loss: loss.packets)
    share = f" ({worst.share:.1%})" if worst.share else ""
    names = [device.name for device in table.devices if any(loss.device == device.name for loss in found)]
    return view.fail(
        Grade.ACTIVE,
        f"{worst.what} {_say.plural(worst.packets, 'packet')}{share} in {_say.window(view)}",
        evidence={
            "losses": [
                {"device": x.device, "kind": x.kind, "packets": x.packets, "share": round(x.share, 4)} for x in found
            ],
            "totals": {name: totals.get(name, {}) for name in names},
            "seconds": view.snapshot.interval,
        }
        | _ring.evidence(view, [lost.series for lost in past]),
        reproduce=_say.shell(
            view, _say.twice(_devices.looks(names[:3]) if names else "head -n 64 /proc/net/softnet_stat")
        ),
        disproof="Run twice under the same load, the counters of loss stand still.",
        advice=_ADVICE[worst.kind],
        cause=f"{worst.kind} losses",
    )


def _earlier(view: View, past: list[_ring.Lost]) -> Finding:
    """Return the finding for what was lost in a burst that is over."""
    worst = past[0]
    share = worst.series.burst / ((worst.series.burst + worst.series.of) or 1)
    return view.fail(
        Grade.RISK,
        f"{worst.device} lost {_say.plural(worst.series.burst, 'packet')} ({share:.1%}) {_ring.when(worst.series)}",
        severity=Severity.LOW,
        evidence={"seconds": view.snapshot.interval} | _ring.evidence(view, [lost.series for lost in past]),
        reproduce=_say.shell(view, _devices.looks([worst.device])),
        disproof="The interface's counters of loss stand lower than the burst says: it was made anew since.",
        advice=_ADVICE[worst.kind],
        cause=f"{worst.kind} losses",
    )


def _backlog(view: View) -> list[Loss]:
    """Return what the processors' queues dropped: the whole machine's, so a container is not judged by it."""
    counters, platform = view.snapshot.counters, view.snapshot.platform
    dropped = (counters.delta or {}).get("softnet.dropped", 0) if counters else 0
    inside = bool(view.netns) or (platform is not None and platform.first_netns is False)
    if inside or dropped / view.snapshot.interval <= view.threshold("softnet_per_second"):
        return []
    return [Loss("", "backlog", dropped, 0.0, "the processors' backlog dropped")]
