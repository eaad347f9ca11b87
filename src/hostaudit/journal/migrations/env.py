"""How alembic gets its connection: the one that is given, within a transaction that holds the journal's lock."""

from __future__ import annotations

from alembic import context

from hostaudit.journal.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
