"""What costs more than the rest of a tick, and is read only when there is a reason.

*Rules.* A rule that drops INVALID packets cannot count one without connection tracking counting it too (``invalid`` or
``error``, net/netfilter/nf_conntrack_core.c). So the rules are read when one of these moved, and else every quarter of
an hour; never so often that they take more than a thousandth of a processor. Where they wait for that, what they
counted is told with the time in which it happened.

*The kernel's log.* Its lines carry their own times, so a look every five minutes misses nothing that is still there.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from hostaudit_agent.collectors.counters import increase

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

TELLING = ("conntrack.invalid", "conntrack.error")
EVERY = 900.0
"""Seconds after which rules are read without a reason: so that new ones are known before they count."""
SHARE = 1000.0
"""A reading that took a second of CPU time is not repeated for so many seconds."""
MOST_CHAINS = 16
OTHERS = "others"
LOG_EVERY = 300.0
MOST_EVENTS, MOST_LINES = 12, 20_000
"""Told in one line of the ring, and looked at in one tick."""


def rules(root: Root, before: dict[str, Any], record: dict[str, Any], state: dict[str, Any]) -> None:
    """Put the chains whose INVALID drops moved into the line.

    State: ``r`` chain -> packets; ``ri`` what connection tracking had counted then; ``rt`` when the rules were read;
    ``rc`` the seconds of CPU time that took; ``ru`` up to when ``r`` is known to be right; times by CLOCK_BOOTTIME.
    """
    now, old = state["up"], before.get("r")
    moved = any(name in record.get("d", {}) for name in TELLING) or "conntrack" in state["u"]
    current = old is not None and before["ru"] == before["up"]
    if old is not None:
        since = now - before["rt"]
        if (current and not moved and since < EVERY) or since < SHARE * before["rc"]:
            state.update({key: before[key] for key in ("r", "rt", "rc", "ri")})
            state["ru"] = before["ru"] if moved or not current else now
            return
    began = time.process_time()
    found, seen = _chains(root, state), sum(state.get("d", {}).get(name, 0) for name in TELLING)
    state.update(r=found, rt=now, rc=round(time.process_time() - began, 3), ri=seen, ru=now)
    if old is None:
        return
    drops = {name: _increase(old, name, packets, seen - before["ri"]) for name, packets in found.items()}
    if any(drops.values()):
        record.update(r={name: packets for name, packets in drops.items() if packets}, rs=round(now - before["ru"], 1))


def _increase(old: dict[str, int], name: str, packets: int, invalid: int) -> int:
    """Return what a chain dropped since the last reading.

    A chain that was not there then began at zero, unless somebody restored its counters: so it cannot have dropped more
    than the ``invalid`` packets that connection tracking saw since.
    """
    if name in old:
        return increase(old[name], packets) or 0
    return packets if packets <= invalid and name != OTHERS else 0


def _chains(root: Root, state: dict[str, Any]) -> dict[str, int]:
    """Return the packets that rules dropped as INVALID, by ``backend family table chain``."""
    from hostaudit_agent.netfilter import iptables, nftables  # noqa: PLC0415 - read when there is a reason

    found: dict[str, int] = {}
    for reading in (iptables.read(root), nftables.read(root)):
        for part, why in reading.unread:
            state["u"]["firewall." + part] = why
        for one in reading.invalid:
            rule = one.rule
            if rule.packets is not None and rule.hooks:
                name = f"{rule.backend} {rule.family} {rule.table} {rule.chain}"
                found[name] = found.get(name, 0) + rule.packets
    if len(found) > MOST_CHAINS:
        most = sorted(found, key=lambda name: -found[name])
        rest = sum(found[name] for name in most[MOST_CHAINS - 1 :])
        found = {**{name: found[name] for name in most[: MOST_CHAINS - 1]}, OTHERS: rest}
    return found


def kernel_log(root: Root, before: dict[str, Any], record: dict[str, Any], state: dict[str, Any]) -> None:
    """Put what the kernel logged since the last look into the line.

    State: ``kt`` when it was looked at; ``ks`` the number of the next record; ``kk`` kind -> lines since then.
    """
    if before and "kt" in before and state["up"] - before["kt"] < LOG_EVERY:
        state.update(kt=before["kt"], ks=before["ks"], kk=before["kk"])
        return
    from hostaudit_agent.collectors import kmsg  # noqa: PLC0415 - see above

    counts: dict[str, int] = dict(before.get("kk", {}))
    following = before.get("ks")
    state.update(kt=state["up"], ks=following, kk=counts)
    fd = kmsg._open(root)  # noqa: SLF001 - the surface's own way in, with its reasons
    if fd is None:
        return
    new: list[Any] = []
    try:
        for one in kmsg.records(fd):
            state["ks"] = one.sequence + 1
            if following is not None and one.sequence >= following and len(new) < MOST_LINES:
                new.append(one)
    finally:
        os.close(fd)
    wanted = [one for one in new if one.priority < kmsg.KERNEL and kmsg.INTERESTING.search(one.text)]
    if wanted:
        _count(wanted, counts, record)


def _count(wanted: list[Any], counts: dict[str, int], record: dict[str, Any]) -> None:
    from hostaudit_agent.kernellog import Line, Tally  # noqa: PLC0415 - most hosts log nothing of the kind

    clock, wall, tally = time.clock_gettime(time.CLOCK_MONOTONIC_RAW), time.time(), Tally()
    for one in wanted:
        tally.add(Line(round(wall - (clock - one.seconds), 1), one.text.decode("utf-8", "replace"), during=False))
    events = tally.events()
    for event in events:
        counts[event.kind] = counts.get(event.kind, 0) + event.count
    if events:
        record["k"] = [[e.kind, e.subject[:64], e.count, e.first, e.last] for e in events[:MOST_EVENTS]]
