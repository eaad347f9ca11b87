"""What databases and disks say, as messages that name the next step."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from hostaudit.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITABLE = "file or folder may not be written; check owner and mode of both, and whether the disk is mounted read-only"
_SQLITE = {
    "SQLITE_FULL": "the disk is full; free some space, then run the command again",
    "SQLITE_READONLY": WRITABLE,
    "SQLITE_CANTOPEN": WRITABLE,
    "SQLITE_PERM": WRITABLE,
    "SQLITE_BUSY": "another process holds it for longer than half a minute; see who with `fuser`",
    "SQLITE_NOTADB": "the file is not an SQLite database; check the URL",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a backup, and keep the damaged one",
    "SQLITE_IOERR": "the disk is full or fails; see df, and the kernel's log",
    "SQLITE_CONSTRAINT": "it refused the entry",
}
_POSTGRESQL = {
    "53100": "its disk is full; free some space there",
    "25006": "it is read-only, maybe a standby; use the primary's address",
    "42501": "its user lacks a privilege; grant it, or use another user",
    "55P03": "another process holds it for longer than half a minute; see pg_stat_activity",
    "P0001": "it refused the entry",
}


@contextmanager
def translated(where: str, doing: str) -> Iterator[None]:
    """Turn what SQLite, PostgreSQL and the disk raise into JournalError."""
    try:
        yield
    except DBAPIError as error:
        raise JournalError(f"could not {doing} {where}: {_next_step(error)}") from error
    except OSError as error:
        raise JournalError(
            f"could not {doing} {where}: {error.strerror or error}; check the path and its mode"
        ) from error


def _next_step(error: DBAPIError) -> str:
    said = " ".join(str(error.orig).split())[:300]
    name = getattr(error.orig, "sqlite_errorname", "") or ""
    for known, step in _SQLITE.items():
        if name.startswith(known):
            return f"{step} ({said})"
    state = getattr(error.orig, "sqlstate", "") or ""
    if state in _POSTGRESQL:
        return f"{_POSTGRESQL[state]} ({said})"
    if state.startswith("08") or error.connection_invalidated or "connection" in said:
        # libpq gives no code for what happens before a session exists, and its words may be in any language
        return f"no session; check that the server runs, the URL, and the user's login, as in ~/.pgpass ({said})"
    return said
