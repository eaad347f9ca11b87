"""No network interface carries all that its link can.

What it reads
    Bytes of every interface in two samples, and the speed and duplex of those that are hardware; for others, and above
    what the driver says, ``hostaudit_link_speed`` of the inventory: ``{"eth0": 1000}`` or ``eth0=1000``, in Mbit/s.

Why it matters
    Above its speed a link drops, and shortly below it already delays: bursts are shorter than a second, and the mean
    hides them. Everybody on the link pays, health checks and cluster heartbeats first.

Active when
    It carries ``risk_share`` of its speed or more in one direction (of both together, half duplex), and its queue or
    ring dropped packets between the samples. Without drops it is a risk; high from ``high_share`` on.

How it is remedied
    Advice: see what fills it, then limit or move that. The speed of a virtual interface means nothing, and that of the
    uplink behind it is not the host's to know: say it in the inventory, or it is not judged.

Fix safety
    A shaper of one's own (tbf, htb, `bwlimit` of vzdump) slows what it names, and protects the rest.

References
    https://docs.kernel.org/networking/ethtool-netlink.html
    https://github.com/netdata/netdata/blob/master/src/health/health.d/net.conf
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit.checks import _devices, _links, _say, check, not_applicable, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Device

_DROPS = ("qdisc.drops", "tx_dropped", "rx_missed_errors", "rx_fifo_errors")


@check(reads=("device", "link"), severity=Severity.MEDIUM, thresholds={"risk_share": 0.85, "high_share": 0.9})
def evaluate(view: View) -> Finding:
    """Compare what passed with what can pass."""
    table, seconds = view.snapshot.device, view.snapshot.interval
    assert table is not None  # noqa: S101 - reads
    speeds = {device.name: (device, speed) for device in table.devices if (speed := _speed(view, device))}
    if not speeds:
        return not_applicable("no interface says how fast it is; hostaudit_link_speed in the inventory does")
    if seconds <= 0:
        return unknown("one sample only: there is no rate")
    used = {name: round(_bits(device) / seconds / speed / 1e6, 3) for name, (device, speed) in speeds.items()}
    worst = max(used, key=lambda name: used[name])
    device, speed = speeds[worst]
    summary = f"{worst} carries {used[worst]:.0%} of {speed:g} Mbit/s"
    if used[worst] < view.threshold("risk_share"):
        return passed(summary, used=used)
    dropped = _devices.moved(device, *_DROPS)
    if dropped:
        summary += f" and dropped {_say.plural(dropped, 'packet')} in {_say.window(view)}"
    return view.fail(
        Grade.ACTIVE if dropped else Grade.RISK,
        summary,
        severity=Severity.HIGH if dropped or used[worst] >= view.threshold("high_share") else None,
        evidence={
            "used": used,
            "speed": speed,
            "declared": worst in _declared(view),
            "dropped": dropped,
            "bytes": {name: _devices.moved(device, name) for name in ("rx_bytes", "tx_bytes")},
            "seconds": seconds,
        },
        reproduce=_say.shell(view, f"ethtool {_say.quote(worst)}; {_say.twice(_devices.looks([worst]))}"),
        disproof="Over minutes (`sar -n DEV 1 60`) the link is far below its speed, and its queue drops nothing.",
        advice=(
            "See what fills it (`iftop`, `nethogs`; on a hypervisor the bytes of each guest's tap). A backup or a "
            "migration gets a limit (`bwlimit` in /etc/vzdump.conf, datacenter.cfg), or another time; else more links."
        ),
        cause="a link carries what it can",
    )


def _bits(device: Device) -> int:
    received, sent = _devices.moved(device, "rx_bytes"), _devices.moved(device, "tx_bytes")
    return 8 * (received + sent if device.duplex == "half" else max(received, sent))


def _speed(view: View, device: Device) -> float | None:
    """Return Mbit/s: what the inventory says, else what the driver of real hardware says."""
    declared = _declared(view).get(device.name)
    if declared:
        return declared
    link = _links.named(view.snapshot.link, device.name) if view.snapshot.link else None
    return device.speed if link is not None and not link.kind else None


def _declared(view: View) -> dict[str, float]:
    """Return ``hostaudit_link_speed`` of this host; what is no number is left out."""
    given: Any = view.host.variables.get("hostaudit_link_speed", {})
    if view.netns:
        return {}
    pairs = given.items() if isinstance(given, dict) else (p.partition("=")[::2] for p in str(given).split(","))
    found = {}
    for name, speed in pairs:
        try:
            found[str(name).strip()] = float(speed)
        except (TypeError, ValueError):
            continue
    return found
