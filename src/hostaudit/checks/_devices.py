"""What an interface lost between the two samples, and of how many packets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostaudit.checks import _say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import View
    from hostaudit_agent.snapshot import Device

LOSSES = ("rx_dropped", "tx_dropped", "qdisc.drops", "rx_errors", "tx_errors", "rx_fifo_errors", "rx_missed_errors")
"""Counters that speak of lost packets."""


class Loss(NamedTuple):
    """One way in which an interface lost packets."""

    device: str
    kind: str
    """``ring``, ``received``, ``queue``, ``sent``, ``errors``."""
    packets: int
    share: float
    """Of all packets of that direction, the lost ones included; 0 to 1."""
    what: str
    """For people: ``the queue (tbf) of eth0 dropped``."""


def moved(device: Device, *names: str) -> int:
    """Return the sum of the increases of these counters."""
    return sum((device.delta or {}).get(name, 0) for name in names)


def losses(view: View, device: Device) -> Iterator[Loss]:
    """Yield what is too much, by the thresholds of ``nic-drops``.

    Drivers count one packet in several places: what was dropped for want of a buffer is often both ``rx_missed_errors``
    and ``rx_dropped``, and queueing disciplines count apart from ``tx_dropped``.
    """
    name = device.name
    received, sent = moved(device, "rx_packets"), moved(device, "tx_packets")
    ring = max(moved(device, "rx_fifo_errors"), moved(device, "rx_missed_errors"))
    if ring and ring >= view.threshold("fifo_packets"):
        yield Loss(name, "ring", ring, ring / (received + ring), f"the ring of {name} overflowed and lost")
    queue, dropped = moved(device, "qdisc.drops"), moved(device, "tx_dropped")
    rx, tx = (received, view.threshold("rx_packets")), (sent, view.threshold("tx_packets"))
    kinds = (
        ("received", moved(device, "rx_dropped"), rx, "drop_share", f"{name} dropped on receipt"),
        ("queue", queue, tx, "drop_share", f"the queue ({device.qdisc}) of {name} dropped"),
        ("sent", dropped, tx, "drop_share", f"{name} could not send"),
        ("errors", moved(device, "rx_errors") - ring, rx, "error_share", f"{name} received with errors"),
        ("errors", moved(device, "tx_errors"), tx, "error_share", f"{name} failed to send"),
    )
    for kind, packets, (passed, least), threshold, what in kinds:
        whole = passed + packets
        if packets > 0 and whole >= least and packets / whole >= view.threshold(threshold):
            yield Loss(name, kind, packets, packets / whole, what)


def lost(device: Device) -> dict[str, int]:
    """Return the totals since the interface exists, of counters that speak of loss."""
    return {name: device.totals[name] for name in LOSSES if name in device.totals}


def looks(names: list[str]) -> str:
    """Return the commands that show counters and queues of interfaces."""
    shown = [f"ip -s -s link show dev {_say.quote(name)}; tc -s qdisc show dev {_say.quote(name)}" for name in names]
    return "; ".join(shown)
