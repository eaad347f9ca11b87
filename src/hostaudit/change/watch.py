"""Who takes a value back? After a change its hosts are watched for two periods of the knobs' owner."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.apply import readback
from hostaudit.apply.resume import State
from hostaudit.journal import Kind
from hostaudit.model import Collected
from hostaudit.plan import COMPILE, PERIOD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.change.context import Context
    from hostaudit.change.outcome import Outcome
    from hostaudit.model import PlannedChange
    from hostaudit_agent.snapshot import Snapshot

UNKNOWN_PERIOD = 30
"""Seconds to watch for two rounds of an owner whose period is not known: kube-proxy and Cilium sync about so often."""
NOBODY = 5
"""Seconds to watch where nothing is known to write the knobs."""
LOOK = 5.0
"""Seconds between two looks."""


def watch(context: Context, outcome: Outcome, changes: Sequence[PlannedChange]) -> None:
    """Read the changed knobs again and again; write down who took one back. Reads only."""
    kept = {
        (host.host, change.role): (change.id, host)
        for change in outcome.changes
        for host in change.hosts.values()
        if host.state is State.CONFIRMED
    }
    mine = [change for change in changes if (change.host, change.role) in kept]
    if not mine:
        return
    seconds = context.ways.watch if context.ways.watch is not None else max(period(c) for c in mine)
    names = list(dict.fromkeys(change.host for change in mine))
    context.say(f"watching for {seconds:.0f} s whether anybody takes a value back")
    end = time.monotonic() + seconds
    while True:
        answers = context.read(names, 0)
        for change in mine:
            name, host = kept[change.host, change.role]
            answer = answers[change.host]
            if host.taken_back or not isinstance(answer, Collected):
                continue
            wrong = readback.wrong(answer.snapshot, change)
            if wrong:
                host.taken_back = f"{'; '.join(wrong)}, written by {writer(answer.snapshot, change)}"
                context.record(Kind.STEP, name, change.host, step="watch", phase="end", taken_back=host.taken_back)
                context.say(f"{change.host}: taken back: {host.taken_back}")
        left = end - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(LOOK, left))
    for identity in dict.fromkeys(name for name, _ in kept.values()):
        context.step(identity, "watch", "end", names, seconds=seconds)


def period(change: PlannedChange) -> int:
    """Return how long to watch after a change, in seconds."""
    if not change.owner or change.owner.startswith("/"):  # a file: read at boot only
        return NOBODY
    known = [PERIOD[name.strip()] for name in change.owner.split(",") if name.strip() in PERIOD]
    return 2 * max(known) + COMPILE if known else UNKNOWN_PERIOD


def writer(snapshot: Snapshot, change: PlannedChange) -> str:
    """Say who it was, as far as what runs on the host tells."""
    for knob in change.knobs:
        found = owners.writer(snapshot.platform, knob.knob)
        if found:
            place = f", which reads {found.place}" if found.place else ""
            return f"{found.name} {found.when}{place}"
    return change.owner or "something that is not known here; see the host's logs"
