"""From a URL to a database that holds the journal: SQLite or PostgreSQL, its locks, and its schema's version."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool, QueuePool

from hostaudit.errors import JournalError, JournalUsageError
from hostaudit.journal.failures import WRITABLE, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSIONS = ("0001", "0002")
"""The steps of migrations/versions, oldest first."""
VERSION_TABLE = "journal_schema"
PATIENCE = 30
"""Seconds to wait for another controller's transaction; each takes milliseconds."""
PAGE = 16384
"""Bytes."""
_LOCK = 0x686F7374_61756469  # "hostaudi": the key of PostgreSQL's advisory lock


@dataclass(frozen=True, slots=True)
class Database:
    """An open database with the journal's schema."""

    engine: Engine
    where: str
    """Its URL without password, for messages."""
    readonly: bool
    frozen: Path | None = None
    """The SQLite file, where it is read without any lock because this user may not write beside it."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that reads."""
        before = self.frozen and _state(self.frozen)
        with translated(self.where, "read"), self.engine.connect() as connection:
            yield connection
        if self.frozen and _state(self.frozen) != before:
            raise JournalError(f"{self.where} was written while it was read; run the command again")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that excludes every other writer until it ends; nothing is kept if it fails."""
        if self.readonly:
            raise JournalError(f"{self.where} is open for reading only")
        engine = self.engine.execution_options(hostaudit_begin="BEGIN IMMEDIATE")
        with translated(self.where, "write"), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection


def default_url(environ: Mapping[str, str]) -> URL:
    """Return the URL of this user's own journal, below the XDG state directory."""
    state = environ.get("XDG_STATE_HOME", "")
    try:
        # the specification: a relative path is to be ignored
        home = state if state.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".local" / "state"
    except RuntimeError:  # cron's or a container's: no HOME, and an account without a name
        raise JournalUsageError(
            "there is no HOME and this account has no home directory, so that the journal has no place; "
            "give it with --journal or HOSTAUDIT_JOURNAL: sqlite:////path/journal.db"
        ) from None
    base = Path(home)
    return URL.create("sqlite", database=str(base / "hostaudit" / "journal.db"))


def connect(address: str | URL, *, readonly: bool) -> Database:
    """Open the database, and bring its schema up to date unless it is only read."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise JournalUsageError(
            "the journal's URL cannot be read; write sqlite:////path/journal.db or "
            "postgresql+psycopg://user@host/database"
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        database = _sqlite(url, readonly=readonly)
    elif url.drivername == "postgresql+psycopg":
        database = _postgresql(url, readonly=readonly)
    else:
        raise JournalUsageError(
            f"a journal is kept in sqlite:///... or postgresql+psycopg://..., not in {url.drivername}"
        )
    try:
        _bring_up_to_date(database)
    except BaseException:
        database.engine.dispose()
        raise
    return database


def _sqlite(url: URL, *, readonly: bool) -> Database:
    if url.database in (None, "", ":memory:") or str(url.database).startswith("file:") or url.query:
        raise JournalUsageError("a journal in SQLite is a file: sqlite:////path/journal.db")
    path = Path(str(url.database)).absolute()
    where = f"the journal {path}"
    frozen = None
    mode = "mode=rwc"
    if readonly:
        mode = "mode=ro"
        if not path.exists():
            raise JournalError(f"there is no journal at {path}: nothing was recorded yet, or it is elsewhere")
        # A reader of a WAL database needs its -wal and -shm files, or leave to make them. Where there are none,
        # nobody writes, and the file alone is the whole database.
        if not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK):
            mode, frozen = "mode=ro&immutable=1", path
    else:
        with translated(where, "create"):
            _create(path)
        if not os.access(path, os.W_OK):  # SQLite would open it for reading, and fail at the first entry
            raise JournalError(f"could not open {where} for writing: {WRITABLE}")

    def opened() -> sqlite3.Connection:
        uri = f"{path.as_uri()}?{mode}"
        connection = sqlite3.connect(uri, PATIENCE, uri=True, isolation_level=None, check_same_thread=False)
        if not readonly:
            _prepare(connection)
        return connection

    pool = NullPool if readonly else QueuePool
    engine = create_engine("sqlite://", creator=opened, poolclass=pool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # the driver's own BEGIN comes too late for DDL and takes no lock
        connection.exec_driver_sql(connection.get_execution_options().get("hostaudit_begin", "BEGIN"))

    return Database(engine, where, readonly, frozen)


def _create(path: Path) -> None:
    """Create an empty file that only its owner may read.

    By a link: to open and close a file in which this process has a database open would drop SQLite's locks on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    number, empty = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(number)
    with suppress(OSError):  # made by another meanwhile, or no links here: SQLite creates it itself
        os.link(empty, path)
    Path(empty).unlink()


def _prepare(connection: sqlite3.Connection) -> None:
    """Set write-ahead logging, and that a commit is on the disk before it returns.

    The size of pages counts for a database that is new: rows of the history, of about 1 kB, would leave a quarter of
    SQLite's 4 KiB unused.
    """
    connection.execute(f"PRAGMA page_size = {PAGE}")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # two that switch at once: SQLite refuses one of them at once, without its busy handler
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                connection.close()
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL")


def _postgresql(url: URL, *, readonly: bool) -> Database:
    where = f"the journal {_without_secrets(url).render_as_string(hide_password=True)}"
    options: dict[str, Any] = {"connect_timeout": 10, "application_name": "hostaudit"} | dict(url.query)
    try:
        engine = create_engine(
            url.set(query={}),
            connect_args=options,
            pool_pre_ping=True,
            pool_size=2,
            isolation_level="READ COMMITTED",
            execution_options={"postgresql_readonly": True} if readonly else {},
        )
    except (ImportError, NoSuchModuleError):
        raise JournalUsageError(f"{where} needs psycopg: pip install 'hostaudit[postgresql]'") from None
    return Database(engine, where, readonly)


def _without_secrets(url: URL) -> URL:
    return url.set(query={k: v for k, v in url.query.items() if "password" not in k})


def _state(path: Path) -> tuple[int, int, bool]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, Path(f"{path}-wal").exists()


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    return None if version is None else str(version)


def _bring_up_to_date(database: Database) -> None:
    """Run the missing steps, once, however many controllers start at the same time."""
    with database.reading() as connection:
        version = _version(connection)
    if version is not None and version not in VERSIONS:
        raise JournalError(
            f"{database.where} was written by a newer hostaudit (schema {version}, this one knows up to "
            f"{VERSIONS[-1]}); update hostaudit here"
        )
    if version == VERSIONS[-1]:
        return
    if database.readonly:
        state = "holds no journal" if version is None else f"has the older schema {version}"
        raise JournalError(f"{database.where} {state}; a command that writes it, like `hostaudit apply`, brings it up")
    with database.writing() as connection:
        if _version(connection) != VERSIONS[-1]:
            _migrate(connection)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")
