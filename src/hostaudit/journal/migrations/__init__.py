"""The journal's schema, step by step. ``hostaudit`` runs them itself; nobody calls alembic by hand."""
