"""Who brought the facts of ``hostaudit drift`` to their values: from the journal, then from the hosts themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hostaudit.drift import cause, flat, remedy
from hostaudit.drift.model import By, Kind, Line, Who

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit_agent.snapshot import Snapshot, Traces

    Asks = Callable[[list[tuple[str, str]]], dict[str, tuple[Traces | None, list[str]]]]

LONGEST = 40
"""Days that a host is asked about at most."""


def explained(lines: list[Line], around: Mapping[str, cause.Around], asks: Asks | None) -> list[Line]:
    """Say who it was; ask the hosts for what they remember, where something new is not explained by the journal."""
    first = {id(line): _who(line, lines, around) for line in lines if line.new}
    open_ = [line for line in lines if line.new and first[id(line)].by is not By.CHANGE and _askable(line)]
    more: dict[str, tuple[Traces | None, list[str]]] = {}
    if open_ and asks:
        more = asks(_questions(open_, around))
    knowing = {
        name: replace(one, traces=more[name][0], unread=tuple(more[name][1])) if name in more else one
        for name, one in around.items()
    }
    return [_judged(line, _who(line, lines, knowing)) if line.new else line for line in lines]


def _judged(line: Line, who: Who) -> Line:
    """Return the line with who it was; what a boot or a daemon took back is not as it should be again."""
    lost = who.by in (By.REBOOT, By.DAEMON)
    return replace(line, who=who, returned=line.returned and not lost)


def _who(line: Line, lines: Sequence[Line], around: Mapping[str, cause.Around]) -> Who:
    mine = around.get(line.host)
    return cause.who(line, [other for other in lines if other.host == line.host], mine) if mine else Who()


def _askable(line: Line) -> bool:
    return Kind.UNREAD.value not in line.kinds


def _questions(lines: Sequence[Line], around: Mapping[str, cause.Around]) -> list[tuple[str, str]]:
    """Return (host, what the agent is asked there)."""
    found_: list[tuple[str, str]] = []
    for name in dict.fromkeys(line.host for line in lines):
        mine = [line for line in lines if line.host == name]
        earliest = datetime.now(UTC) - timedelta(days=LONGEST)
        times = [datetime.fromisoformat(line.since.after) for line in mine if line.since.after]
        since = max(earliest, min(times, default=earliest)) - timedelta(seconds=60)
        words = [key for line in mine if (key := flat.key_of(line.path))]
        configured = around[name].configured
        texts = [text for line in mine for text in (line.now, line.since.was)] + [configured.get(w, "") for w in words]
        files = [text.rpartition(" (")[2].rstrip(")") for text in texts if text.endswith(")") and " (/" in text]
        asked = {"since": since.timestamp(), "files": list(dict.fromkeys(files)), "words": list(dict.fromkeys(words))}
        found_.append((name, json.dumps(asked)))
    return found_


def completed(line: Line, snapshot: Snapshot | None) -> Line:
    """Return the line with its owner, and how it is put back."""
    if snapshot is None or Kind.UNREAD.value in line.kinds:
        return line
    role, how = remedy.back(line, line.who, snapshot)
    return replace(line, owner=remedy.owner(line, snapshot), back=role, back_how=how)
