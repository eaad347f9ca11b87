"""The tables of the history, as the newest migration of the journal leaves them: both are in one database."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from hostaudit.journal.tables import metadata

RUN = Table(
    "history_run",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # in order of storing
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # "run" or "drift"
    Column("started", Text, nullable=False, index=True),  # as the journal writes times
    Column("finished", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("hosts", Integer, nullable=False),
    Column("counts", Text, nullable=False),  # JSON
    Column("document", LargeBinary, nullable=False),  # verdicts: see verdicts.py
)

HOST = Table(
    "history_host",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("last", Integer, nullable=False),  # the newest run in which it answered
    Column("reported", Integer, nullable=False),  # the newest of those that was a drift run; 0: none
)

BLOB = Table(
    "history_blob",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of what is stored, not compressed
    Column("data", LargeBinary, nullable=False),
)

STATE = Table(
    "history_state",
    metadata,
    Column("host", Integer, primary_key=True, autoincrement=False),
    Column("surface", Text, primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),  # from this run on, until the next row
    Column("blob", Integer, nullable=False, index=True),  # 0: the surface was not read
    sqlite_with_rowid=False,
)

SEEN = Table(
    "history_seen",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("host", Integer, primary_key=True, autoincrement=False),
    # what moves by itself: see pack.py. SQLite keeps such rows whole in tables with a rowid only; without, each would
    # have a page of its own (https://sqlite.org/withoutrowid.html)
    Column("moving", LargeBinary, nullable=False),
)

Index("ix_history_seen_host", SEEN.c.host, SEEN.c.run)

TOLD = Table(
    "history_drift",
    metadata,
    Column("host", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("now", Text, nullable=False),
    Column("run", Integer, nullable=False),  # the drift run that told it first
    Column("line", LargeBinary, nullable=False),  # what was told
)
