"""The journal, append-only, and the locks of fleets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_GENESIS = "0" * 64
_LAST = "(SELECT hash FROM journal ORDER BY sequence DESC LIMIT 1)"
_NEXT = "(SELECT coalesce(max(sequence), 0) + 1 FROM journal)"
_BREAKS = f"NEW.sequence <> {_NEXT} OR NEW.previous <> coalesce({_LAST}, '{_GENESIS}')"
_REFUSED = "the journal is append-only"

# INSERT OR REPLACE deletes without firing a delete trigger, hence the last condition
_SQLITE = (
    f"CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    f"CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    f"""CREATE TRIGGER journal_chain BEFORE INSERT ON journal
    WHEN {_BREAKS} OR EXISTS (SELECT 1 FROM journal WHERE id = NEW.id OR hash = NEW.hash)
    BEGIN SELECT RAISE(ABORT, '{_REFUSED}: this entry does not follow the last one'); END""",  # noqa: S608 - constants
)
_POSTGRESQL = (
    f"""CREATE FUNCTION hostaudit_journal_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$""",
    f"""CREATE FUNCTION hostaudit_journal_chain() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
      IF {_BREAKS} THEN RAISE EXCEPTION '{_REFUSED}: this entry does not follow the last one'; END IF;
      RETURN NEW;
    END $$""",
    """CREATE TRIGGER journal_no_change BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION hostaudit_journal_refuse()""",
    """CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION hostaudit_journal_refuse()""",
    "CREATE TRIGGER journal_chain BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION hostaudit_journal_chain()",
)


def upgrade() -> None:
    """Create the two tables, and the triggers that keep the first one as it is."""
    words = ("actor_user", "actor_machine", "actor_ssh", "actor_run_as")
    op.create_table(
        "journal",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("time", "kind", "change", "host", *words)),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("reason", "ticket", "payload")),
        sa.Column("previous", sa.Text, nullable=False, unique=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
    )
    for name in ("time", "change", "host"):
        op.create_index(f"ix_journal_{name}", "journal", [name])
    op.create_table(
        "fleet_lock",
        sa.Column("fleet", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("token", "change", "since", *words)),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
    )
    for statement in _SQLITE if op.get_context().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: a journal is not taken back."""
    raise NotImplementedError("the first step of the journal has no way back")
