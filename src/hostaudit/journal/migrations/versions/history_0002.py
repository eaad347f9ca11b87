"""The history of runs: surfaces by their content, what moves by itself apart from them, verdicts, reported drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=key, nullable=False, autoincrement=False)


def _text(name: str, *, key: bool = False, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False, unique=unique)


def _bytes(name: str, *, unique: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False, unique=unique)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "history_run",
        _number("number", key=True),
        _text("id", unique=True),
        *(_text(name) for name in ("kind", "started", "finished", "version")),
        _number("hosts"),
        _text("counts"),
        _bytes("document"),
    )
    op.create_index("ix_history_run_started", "history_run", ["started"])
    op.create_table(
        "history_host", _number("number", key=True), _text("name", unique=True), _number("last"), _number("reported")
    )
    op.create_table("history_blob", _number("number", key=True), _bytes("hash", unique=True), _bytes("data"))
    op.create_table(
        "history_state",
        _number("host", key=True),
        _text("surface", key=True),
        _number("run", key=True),
        _number("blob"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_history_state_blob", "history_state", ["blob"])
    op.create_table("history_seen", _number("run", key=True), _number("host", key=True), _bytes("moving"))
    op.create_index("ix_history_seen_host", "history_seen", ["host", "run"])
    op.create_table(
        "history_drift", _text("host", key=True), _text("path", key=True), _text("now"), _number("run"), _bytes("line")
    )


def downgrade() -> None:
    """Drop them: a history can be taken back, unlike a journal."""
    for name in ("drift", "seen", "state", "blob", "host", "run"):
        op.drop_table(f"history_{name}")
