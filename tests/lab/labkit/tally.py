"""Counts faults and what came out, and prints the table that docs/faults.md shows."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from labkit.wholeness import BEFORE, CHANGED, HALF, Judgement

COLUMNS = ("injected", CHANGED, BEFORE, HALF, "journal wrong")


@dataclass
class Tally:
    """Kind of fault -> counts; faults are counted once, what came out once for each host."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """Faults that came out wrong, each with what repeats it."""
    missed: int = 0
    """Controllers that ended before their point: no fault was injected."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, told: str, judgement: Judgement | None) -> None:
        """Count what was injected at one go; None where nothing was."""
        with self.lock:
            if judgement is None:
                self.missed += 1
                return
            row = self.counts.setdefault(kind, Counter())
            row["injected"] += judgement.faults
            row.update(judgement.hosts.values())
            row["journal wrong"] += len(judgement.journal)
            if judgement.half or judgement.journal:
                self.wrong.append(f"{told}: {judgement}")

    @property
    def injected(self) -> int:
        """How many faults there were."""
        return sum(row["injected"] for row in self.counts.values())

    def table(self) -> str:
        """Return the counts as a table of Markdown."""
        total: Counter[str] = Counter()
        lines = ["| fault | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        for kind, row in sorted(self.counts.items()):
            total.update(row)
            lines.append(f"| {kind} | " + " | ".join(str(row[c]) for c in COLUMNS) + " |")
        lines.append("| **all** | " + " | ".join(f"**{total[c]}**" for c in COLUMNS) + " |")
        return "\n".join(lines)

    def save(self, to: Path) -> None:
        """Write everything down, so that an interrupted soak is not lost."""
        with self.lock:
            document = {"counts": self.counts, "missed": self.missed, "wrong": self.wrong}
            to.write_text(json.dumps(document, indent=1) + "\n")
