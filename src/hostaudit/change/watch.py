"""Who takes a value back? After a change its hosts are watched for two periods of the knobs' owner."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from hostaudit import owners
from hostaudit.apply import readback
from hostaudit.apply.resume import State
from hostaudit.border import text
from hostaudit.failures import excerpt
from hostaudit.journal import Kind
from hostaudit.journal.redact import redact_text
from hostaudit.model import Collected
from hostaudit.plan import COMPILE
from hostaudit.writers import longest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.apply.guard import Reply
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
COMMANDS = ("sysctl", "pvesh", "ifreload", "netplan", "networkctl", "iptables", "nft ", "ip link", "tuned-adm")
"""Words of commands that set knobs; looked for in the host's log."""


def watch(context: Context, outcome: Outcome, changes: Sequence[PlannedChange]) -> None:
    """Read the changed knobs again and again; write down which was taken back, and what tells by whom. Reads only."""
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
    right = dict.fromkeys(kept, time.monotonic())
    while True:
        looked = time.monotonic()
        answers = context.read(names, 0)
        for change in mine:
            name, host = kept[change.host, change.role]
            answer = answers[change.host]
            if host.taken_back or not isinstance(answer, Collected):
                continue
            wrong = readback.wrong(answer.snapshot, change)
            if not wrong:
                right[change.host, change.role] = looked
                continue
            since = time.monotonic() - right[change.host, change.role]
            host.taken_back = f"{'; '.join(wrong)}. {_who(context, change, answer.snapshot, since)}"
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
    known = longest(change.owner)
    return 2 * known + COMPILE if known else UNKNOWN_PERIOD


def _who(context: Context, change: PlannedChange, snapshot: Snapshot, since: float) -> str:
    """Say what happened on the host since the value was right, ``since`` seconds ago, and who usually writes it."""
    words = [*COMMANDS, *(knob.knob.replace(".", "/") for knob in change.knobs), *(knob.knob for knob in change.knobs)]
    asked = json.dumps({"seconds": round(since + 1, 1), "words": words})
    seen = evidence(context.ask([change.host], "since", asked)[change.host])
    usual = writer(snapshot, change)
    if seen:
        return f"Seen on the host since it was right: {'; '.join(seen)}. {usual}"
    return f"Nothing on the host tells who it was. {usual}"


def evidence(reply: Reply) -> list[str]:
    """Return what ``witness.py`` saw, fit for a report: the host's words, without secrets."""
    if reply.failure:
        return [f"not known, {reply.failure}"]
    lines = reply.seen if isinstance(reply.seen, list) else []
    return [excerpt(redact_text(text(line))) for line in lines if isinstance(line, str)]


def writer(snapshot: Snapshot, change: PlannedChange) -> str:
    """Say who usually writes these knobs, as far as what runs on the host tells: no more than that is known."""
    for knob in change.knobs:
        found = owners.writer(snapshot.platform, knob.knob)
        if found:
            place = f", which reads {found.place}" if found.place else ""
            return f"The usual owner is {found.name}, {found.when}{place}"
    if change.owner:
        return f"The usual owner is {change.owner}"
    return "No usual owner of it is known"
