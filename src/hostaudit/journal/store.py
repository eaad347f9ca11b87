"""The journal: append, read, verify, and the locks of fleets."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from hostaudit.errors import JournalError, JournalUsageError
from hostaudit.journal import lock as locks
from hostaudit.journal.entry import GENESIS, Actor, Entry, Kind, digest, entry_of, row_of, told
from hostaudit.journal.opened import Opened
from hostaudit.journal.tables import JOURNAL
from hostaudit.journal.verify import Head, Verdict, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Select

PAGE = 500
"""Entries read at once; between two pages no transaction is open."""


class Journal(Opened):
    """An open journal; close it, or use it in a ``with``. Every method raises JournalError."""

    def append(self, entry: Entry) -> Entry:
        """Write the entry at the end and return it as stored: redacted, with id, sequence and hash.

        When this returns the entry is on the disk. An ``id`` that is given must be new. If a server hangs up in the
        middle, one more attempt finds out under the lock whether the entry is there.
        """
        row = row_of(entry)
        row["id"] = row["id"] or secrets.token_hex(8)
        try:
            return self._append(row, maybe_there=False)
        except JournalError as error:
            cause = error.__cause__
            if isinstance(cause, DBAPIError) and cause.connection_invalidated:
                return self._append(row, maybe_there=True)
            raise

    def _append(self, row: Mapping[str, Any], *, maybe_there: bool) -> Entry:
        with self._database.writing() as connection:
            there = _all(connection, select(JOURNAL).where(JOURNAL.c.id == row["id"]))
            if there:
                if maybe_there:
                    return entry_of(there[0])
                raise JournalUsageError(f"the journal has an entry {row['id']} already")
            return _chained(connection, row)

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        change: str | None = None,
        host: str | None = None,
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
    ) -> Iterator[Entry]:
        """Yield the entries that match, in order of sequence. ``since`` is included, ``until`` is not."""
        query = select(JOURNAL)
        if kinds:
            query = query.where(JOURNAL.c.kind.in_([str(k) for k in kinds]))
        for column, value in ((JOURNAL.c.change, change), (JOURNAL.c.host, host), (JOURNAL.c.actor_user, user)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(JOURNAL.c.time >= told(since))
        if until is not None:
            query = query.where(JOURNAL.c.time < told(until))
        for row in self._rows(query, newest_first=newest_first):
            yield entry_of(row)

    def get(self, identity: str) -> Entry:
        """Return the entry of this id, or of an unambiguous beginning of it."""
        begins = JOURNAL.c.id.startswith(identity, autoescape=True)
        with self._database.reading() as connection:
            rows = _all(connection, select(JOURNAL).where(begins).order_by(JOURNAL.c.id).limit(3))
        exact = [r for r in rows if r["id"] == identity] or rows
        if not identity or not exact:
            raise JournalUsageError(f"the journal has no entry {identity!r}; `hostaudit log` lists them")
        if len(exact) > 1:
            raise JournalUsageError(f"several entries begin with {identity}: {exact[0]['id']}, {exact[1]['id']}, ...")
        return entry_of(exact[0])

    def head(self) -> Head | None:
        """Return the last entry's sequence and hash, to be kept elsewhere; ``None``: the journal is empty."""
        with self._database.reading() as connection:
            row = _last(connection)
        return Head(row["sequence"], row["hash"]) if row else None

    def verify(self, kept: Head | None = None) -> Verdict:
        """Walk along the whole chain. ``kept`` is a head from earlier: without it a cut off end cannot be seen."""
        head = self.head()
        return walk(self._rows(select(JOURNAL)), head.sequence if head else 0, kept)

    @contextmanager
    def lock(self, fleet: str, actor: Actor, now: datetime, change: str = "") -> Iterator[locks.FleetLock]:
        """Hold a fleet. Raises FleetLockedError naming the holder if somebody else does."""
        held = locks.take(self._database, fleet, actor, now, change)
        try:
            yield held
        except BaseException:
            with suppress(JournalError):  # what went wrong first is what counts
                held.release()
            raise
        held.release()

    def break_lock(self, fleet: str, actor: Actor, now: datetime, reason: str) -> Entry:
        """Take a fleet from whoever holds it, and write that down, in one transaction."""
        if not reason.strip():
            raise JournalUsageError(f"to break the lock of fleet {fleet}, say why")
        with self._database.writing() as connection:
            holder = locks.remove(connection, fleet)
            was = {"fleet": fleet, "holder": holder.actor, "since": holder.since, "pid": holder.process.pid}
            payload = was | {"process": str(holder.process.fate())}
            entry = Entry(Kind.LOCK_BROKEN, now, actor, change=holder.change, reason=reason, payload=payload)
            return _chained(connection, row_of(entry) | {"id": secrets.token_hex(8)})

    def holder(self, fleet: str) -> locks.Holder | None:
        """Return who holds the fleet."""
        with self._database.reading() as connection:
            return locks.holder_of(connection, fleet)

    def _rows(self, query: Select[Any], *, newest_first: bool = False) -> Iterator[dict[str, Any]]:
        number = JOURNAL.c.sequence
        query = query.order_by(number.desc() if newest_first else number).limit(PAGE)
        page = query
        while True:
            with self._database.reading() as connection:
                rows = _all(connection, page)
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1]["sequence"]
            page = query.where(number < last if newest_first else number > last)


def _all(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in connection.execute(query).mappings()]


def _last(connection: Connection) -> dict[str, Any] | None:
    query = select(JOURNAL.c.sequence, JOURNAL.c.hash).order_by(JOURNAL.c.sequence.desc()).limit(1)
    return next(iter(_all(connection, query)), None)


def _chained(connection: Connection, row: Mapping[str, Any]) -> Entry:
    """Write a row after the last one, within a transaction that excludes other writers."""
    last = _last(connection)
    sequence, previous = (last["sequence"] + 1, last["hash"]) if last else (1, GENESIS)
    complete = {**row, "sequence": sequence, "previous": previous}
    complete["hash"] = digest(complete)
    connection.execute(insert(JOURNAL).values(**complete))
    return entry_of(complete)
