"""Is the journal what was written? The walk along the chain that names the first entry that is not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hostaudit.errors import JournalUsageError
from hostaudit.journal.entry import GENESIS, canonical, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REACH = 1000
"""How many cut off entries a moved one may have come over."""


_HEAD = re.compile("[1-9][0-9]{0,17}:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a journal. Kept elsewhere (in a ticket, in a mail), it proves that nothing was cut off."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read ``SEQUENCE:HASH``. Raises JournalUsageError."""
        sequence, _, digits = text.strip().partition(":")
        if not _HEAD.fullmatch(text.strip()):
            raise JournalUsageError(f"a head is SEQUENCE:HASH, as verify prints it, not {text!r}")
        return cls(int(sequence), digits)


class Problem(StrEnum):
    """What is wrong with the first broken entry."""

    MISSING = "missing"
    ALTERED = "altered"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found. ``broken_at`` is the first entry that is not as it was written."""

    ok: bool
    entries: int
    """That were found sound, from the first one on."""
    head: Head | None
    """The last sound entry."""
    reason: str
    """A sentence for people."""
    problem: Problem | None = None
    broken_at: int | None = None
    broken_id: str = ""


def walk(rows: Iterable[Mapping[str, Any]], last: int, kept: Head | None) -> Verdict:
    """Verify the rows, which come in order of sequence up to ``last``."""
    sound, previous, before = 0, GENESIS, ""
    for row in rows:
        broken = _judge(row, Head(sound, previous), before, last, kept)
        if broken:
            problem, at, identity, reason = broken
            return Verdict(False, sound, Head(sound, previous) if sound else None, reason, problem, at, identity)
        sound, previous, before = sound + 1, row["hash"], str(row["id"])
    head = Head(sound, previous) if sound else None
    if kept is not None and sound < kept.sequence:
        reason = f"the journal was cut off: it ends at entry {sound}, and the head that was kept is {kept.sequence}"
        return Verdict(False, sound, head, reason, Problem.TRUNCATED, sound + 1)
    much = f"{sound} entr{'y' if sound == 1 else 'ies'}, one chain" if sound else "no entries"
    unknown = "" if kept or not sound else "; whether its end was cut off is known only with a head kept elsewhere"
    return Verdict(True, sound, head, much + unknown)


def _judge(
    row: Mapping[str, Any], head: Head, before: str, last: int, kept: Head | None
) -> tuple[Problem, int, str, str] | None:
    """Return what is wrong with the entry that follows ``head``: problem, sequence, id, sentence."""
    number, identity = head.sequence + 1, str(row["id"])
    if row["sequence"] != number:
        reason = f"entry {number} is missing; the next one there is {row['sequence']}"
        return Problem.MISSING, number, "", reason
    if not _self_consistent(row):
        # the number is part of what is hashed: under its own number a moved entry is sound
        was = next((n for n in range(1, last + REACH) if _self_consistent({**row, "sequence": n})), 0)
        if was:
            return Problem.REORDERED, number, identity, f"entry {number} ({identity}) was entry {was} when written"
        return Problem.ALTERED, number, identity, f"entry {number} ({identity}) is not what its hash was made of"
    if row["previous"] != head.hash:
        if not head.sequence:
            return Problem.REWRITTEN, number, identity, f"entry 1 ({identity}) does not begin a journal"
        reason = f"entry {head.sequence} ({before}) was written anew, hash included: entry {number} follows another one"
        return Problem.REWRITTEN, head.sequence, before, reason
    if kept is not None and number == kept.sequence and row["hash"] != kept.hash:
        reason = (
            f"the journal was written anew: its entry {number} ({identity}) is not the one of the head that was kept"
        )
        return Problem.REWRITTEN, number, identity, reason
    return None


def _self_consistent(row: Mapping[str, Any]) -> bool:
    try:
        return canonical(json.loads(row["payload"])) == row["payload"] and digest(row) == str(row["hash"])
    except (TypeError, ValueError, RecursionError):
        return False
