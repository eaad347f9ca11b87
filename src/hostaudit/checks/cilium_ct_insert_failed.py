"""Cilium's connection tracking takes every new connection.

What it reads
    Drops for reason 155 (map insertion failed) in ``cilium_metrics``, before and after; the fill level of the
    connection tracking maps, and the kernel's version, to tell the two causes apart.

Why it matters
    The first packet of a connection is dropped where its entry cannot be made. Its sender tries again after a second,
    and mostly succeeds: what people see are connections that now and then take one second, or three, or seven.

Active when
    ``active_packets`` or more were dropped for it between the samples. A map that is full (``full_share``) is one
    cause. Where there is room, a bucket was locked at that moment: before Linux 6.15 an update fails when it interrupts
    another on the same CPU, and whatever walks the map (Cilium's garbage collector does) makes that likelier.

How it is remedied
    A full map as in ``cilium-ct-map-pressure``. Contention ends with Linux 6.15; until then a longer
    ``conntrack-gc-interval`` makes it rarer.

Fix safety
    A new kernel is a reboot: drain the node. A longer interval keeps dead entries for longer, so look at the fill level
    first.

References
    https://docs.cilium.io/en/stable/network/ebpf/maps/
    https://docs.kernel.org/bpf/map_hash.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.checks import _cilium, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_UNLOCKED = (6, 15)


@check(reads=("bpf",), severity=Severity.HIGH, thresholds={"active_packets": 1, "full_share": 0.9})
def evaluate(view: View) -> Finding:
    """Look whether the reason's counter moves, and why."""
    bpf = _cilium.here(view)
    if bpf is None:
        return not_applicable(_cilium.HERE)
    full = view.threshold("full_share")
    found = _cilium.fills(view, _cilium.CT, full, full)
    dropped = (bpf.delta or {}).get(_cilium.INSERT_FAILED, 0)
    ever = bpf.totals.get(_cilium.INSERT_FAILED, 0)
    evidence = {"maps": _cilium.shown(found), "dropped": dropped, "ever": ever, "seconds": view.snapshot.interval}
    if dropped < view.threshold("active_packets"):
        return passed(f"none in {_say.window(view)}" if view.snapshot.interval else "no second sample", **evidence)
    share = f"{found[0].table.name} is {found[0].share:.0%} full" if found else "how full its maps are is not known"
    if not found:
        advice = "See how full they are: a full map wants to be larger; a map with room is locked too often."
    elif found[0].evicting:
        advice = "Make room in the map: see `hostaudit explain cilium-ct-map-pressure`."
    elif _older(view):
        advice = "It has room: contention. Upgrade to Linux 6.15 or later; until then raise conntrack-gc-interval."
    else:
        advice = (
            "It has room. Look into Cilium's log for errors of its maps; `cilium-dbg bpf ct list global` walks them."
        )
    return view.fail(
        Grade.ACTIVE,
        f"{_say.plural(dropped, 'new connection')} not tracked in {_say.window(view)}; {share}",
        evidence=evidence | {"kernel": view.snapshot.platform.kernel if view.snapshot.platform else ""},
        reproduce=_cilium.dropping(),
        disproof="The number of reason 155 stands still while new connections are made.",
        owner="cilium",
        advice=advice,
        cause="Cilium cannot track new connections",
    )


def _older(view: View) -> bool:
    release = owners.release(view.snapshot.platform.kernel if view.snapshot.platform else "")
    return bool(release) and release < _UNLOCKED
