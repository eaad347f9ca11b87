"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

metadata = MetaData()

JOURNAL = Table(
    "journal",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("time", Text, nullable=False, index=True),  # text: the hash is over what is written
    Column("kind", Text, nullable=False),
    Column("change", Text, nullable=False, index=True),
    Column("host", Text, nullable=False, index=True),
    Column("actor_user", Text, nullable=False),
    Column("actor_machine", Text, nullable=False),
    Column("actor_ssh", Text, nullable=False),
    Column("actor_run_as", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("payload", Text, nullable=False),  # text: JSONB would write numbers anew
    Column("previous", Text, nullable=False, unique=True),  # unique: a chain that forks cannot be stored
    Column("hash", Text, nullable=False, unique=True),
)

FLEET_LOCK = Table(
    "fleet_lock",
    metadata,
    Column("fleet", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("actor_user", Text, nullable=False),
    Column("actor_machine", Text, nullable=False),
    Column("actor_ssh", Text, nullable=False),
    Column("actor_run_as", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process", Text, nullable=False),  # which process of that pid: see process.py
)
