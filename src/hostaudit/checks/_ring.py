"""What the installed agent saw move since yesterday, for checks that see nothing move now. Pure.

A burst of the night is no *active* fault of the morning: it is a risk, with the time when it was last seen. The ring
is of the namespace in which the installed agent runs, so other namespaces are not judged by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit.checks import _say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit.checks import View
    from hostaudit.checks._invalid import Drops
    from hostaudit_agent.snapshot import Ring, RingSeries

MOST = 4
"""Counters in the evidence of one finding."""
INVALID, DEVICE, USE = "invalid_dropped ", "device ", "conntrack.use"
CLASSIFIED = "conntrack.invalid"


class Lost(NamedTuple):
    """A burst of an interface's losses."""

    device: str
    kind: str
    """As in ``_devices.Loss``."""
    series: RingSeries


def ring(view: View) -> Ring | None:
    """Return the ring; ``None`` where there is none, or none of this namespace."""
    found = view.snapshot.ring
    return found if found is not None and found.present and not view.netns else None


def series(view: View, *names: str) -> list[RingSeries]:
    """Return those of these counters that moved, the largest burst first."""
    found = ring(view)
    moved = [one for one in found.series if one.name in names] if found else []
    return sorted(moved, key=lambda one: -one.burst)


def invalid(view: View, drops: Drops) -> RingSeries | None:
    """Return the burst of INVALID drops that the rules of ``drops`` made, where it is more than any network's noise.

    Rules without a counter are judged by what connection tracking called INVALID. The same measures as for two samples
    hold: a rate, and on a host that only routes a share of what it routed.
    """
    names = [f"{INVALID}{r.backend} {r.family} {r.table} {r.chain}" for r in drops.met]
    uncounted = any(rule.packets is None for rule in drops.met)
    for one in series(view, *names, *([CLASSIFIED] if uncounted else [])):
        if view.host.asymmetric and one.burst:
            return one
        routed = 0 if drops.everything_bridged else one.of
        often = one.most * 60 >= view.threshold("burst_per_minute")
        if often and one.burst > view.threshold("noise_share") * routed:
            return one
    return None


def losses(view: View) -> list[Lost]:
    """Return bursts in which an interface lost more than the thresholds of ``nic-drops`` allow, the worst first."""
    found = ring(view)
    lost = []
    for one in found.series if found else ():
        words = one.name.split(" ")
        if len(words) != 3 or one.name[: len(DEVICE)] != DEVICE:
            continue
        name, counter = words[1], words[2]
        sent = counter.startswith(("tx", "qdisc"))
        whole, share = one.burst + one.of, "error_share" if counter.endswith("errors") else "drop_share"
        enough = whole >= view.threshold("tx_packets" if sent else "rx_packets")
        if counter == "ring":
            if one.burst >= view.threshold("fifo_packets"):
                lost.append(Lost(name, "ring", one))
        elif enough and one.burst / whole >= view.threshold(share):
            kinds = {"rx_dropped": "received", "qdisc.drops": "queue", "tx_dropped": "sent"}
            lost.append(Lost(name, kinds.get(counter, "errors"), one))
    return sorted(lost, key=lambda one: -one.series.burst)


def changed(view: View, knob: str, one: RingSeries) -> bool:
    """Tell whether this setting was changed after the counter moved last: what it did before is answered."""
    found = ring(view)
    return any(c.name == knob and c.until >= (one.last or one.most_at) for c in found.changes) if found else False


def at(time: float) -> str:
    """Return a Unix time for people, in UTC: ``21 Nov 02:04 UTC``; it is from a host, so it may be anything."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%d %b %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"


def when(one: RingSeries) -> str:
    """Return the time of the largest burst: ``21 Nov 02:00-02:05 UTC``."""
    start, end = at(one.burst_from), at(one.burst_until)
    if start[:6] != end[:6] or " UTC" not in start:
        return end
    return end if start == end else f"{start.removesuffix(' UTC')}-{end[7:]}"


def last(found: Iterable[RingSeries]) -> str:
    """Return when any of these moved last: ``last active 21 Nov 02:04 UTC``; empty for none."""
    times = [one.last for one in found]
    return f"last active {at(max(times))}" if times else ""


def evidence(view: View, found: Iterable[RingSeries]) -> dict[str, Any]:
    """Return ``{"earlier": {...}}``: what was seen, when, and for how long there was anybody to see it."""
    shown = list(found)[:MOST]
    whole = ring(view)
    if not shown or whole is None:
        return {}
    rows = [
        {
            "counter": one.name,
            "burst": f"{_say.plural(one.burst, 'event')} {when(one)}" if one.burst else f"most {one.most:g}%",
            "bursts": one.bursts,
            "total": one.total,
            "most_per_second": one.most if one.burst else None,
            "last": at(one.last or one.most_at),
        }
        for one in shown
    ]
    return {"earlier": {"seen": rows, "since": at(whole.first), "until": at(whole.last), "boots": len(whole.boots)}}
