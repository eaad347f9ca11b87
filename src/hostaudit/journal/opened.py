"""What the journal and the history have in common: one open database, found, closed and named alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from hostaudit.journal.engine import Database, connect, default_url

if TYPE_CHECKING:
    from collections.abc import Mapping


class Opened:
    """Something kept in an open database; close it, or use it in a ``with``. Every method raises JournalError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str | None = None, *, readonly: bool = False, environ: Mapping[str, str] | None = None) -> Self:
        """Open the database at ``url`` (by default this user's own file) and bring its schema up to date.

        ``readonly`` needs no permission to write, creates nothing and changes no schema.
        """
        return cls(connect(url or default_url(os.environ if environ is None else environ), readonly=readonly))

    def close(self) -> None:
        """Close every connection."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """Say which database it is, without password."""
        return self._database.where
