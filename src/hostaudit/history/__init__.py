"""Every run, stored compactly beside the journal: what each host was, and what was judged of it.

A surface is stored by its content, once for all hosts and runs that have it; of a host only the changes are written.
What moves by itself is kept apart, a few hundred bytes a host and run. The database is the journal's: SQLite by
default, PostgreSQL by URL; unlike the journal it may be thinned out, and is by age.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, insert, select, update

from hostaudit.drift.model import Line
from hostaudit.history import store
from hostaudit.history.pack import deflate, inflate
from hostaudit.history.read import Reader, Stored, at, moment
from hostaudit.history.tables import HOST, TOLD
from hostaudit.journal.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostaudit.journal.engine import Database
    from hostaudit.model import Collected, Run

__all__ = ["History", "Reader", "Stored", "at", "moment"]


class History(Opened):
    """An open history, in the journal's database; used and closed as a journal. Every method raises JournalError."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.read = Reader(database)

    def store(self, run: Run, answers: Iterable[Collected], kind: str = "run") -> Stored:
        """Write a run."""
        number = store.store(self._database, run, answers, kind)
        counts = dict(run.counts)
        return Stored(number, run.id, kind, run.started, run.finished, run.version, len(run.hosts), counts)

    def prune(self, days: float, now: datetime) -> int:
        """Remove the runs that are older, except the newest; return how many."""
        oldest = now.astimezone(UTC) - timedelta(days=days)
        return store.prune(self._database, f"{oldest:%Y-%m-%dT%H:%M:%SZ}")

    def told(self) -> dict[tuple[str, str], Line]:
        """Return (host, path) -> the line of drift that an earlier drift run told."""
        with self._database.reading() as connection:
            rows = connection.execute(select(TOLD.c.host, TOLD.c.path, TOLD.c.line)).all()
        return {
            (host, path): msgspec.convert(msgspec.json.decode(inflate(bytes(line))), Line) for host, path, line in rows
        }

    def tell(self, run: int, seen: Sequence[str], hosts: Sequence[str], lines: Sequence[Line]) -> None:
        """Write down that these lines were told, of ``hosts`` all there are; ``seen`` answered.

        Call it after they were told: whoever is interrupted in between hears them twice, not never. A host that did
        not answer keeps what was told of it.
        """
        rows = [
            {"host": o.host, "path": o.path, "now": o.now, "run": run, "line": deflate(msgspec.json.encode(o))}
            for o in lines
        ]
        with self._database.writing() as connection:
            for start in range(0, len(hosts), store.MOST):
                connection.execute(delete(TOLD).where(TOLD.c.host.in_(hosts[start : start + store.MOST])))
            if rows:
                connection.execute(insert(TOLD), rows)
            for start in range(0, len(seen), store.MOST):
                some = HOST.c.name.in_(seen[start : start + store.MOST])
                connection.execute(update(HOST).where(some).values(reported=run))
