"""What the journal says when disk, database or URL are not as they should be."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import text

from hostaudit.errors import JournalError, JournalUsageError
from hostaudit.journal import Entry, Journal, Kind

NOBODY = 65534


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("journal.db", "the journal's URL cannot be read"),
        ("mysql://a:hunter2@b/c", "not in mysql"),
        ("sqlite://", "is a file"),
        ("sqlite:///:memory:", "is a file"),
        ("sqlite:///file:x?mode=ro", "is a file"),
        ("postgresql+asyncpg://a:hunter2@b/c", "not in postgresql+asyncpg"),
        ("postgresql://a:hunter2@b:port/c", "cannot be read"),
    ],
)
def test_a_url_that_is_no_journal(url, says):
    with pytest.raises(JournalUsageError) as caught:
        Journal.open(url)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_server_that_is_not_there_and_no_password_in_the_message():
    with pytest.raises(JournalError) as caught:
        Journal.open("postgres://alice:hunter2@127.0.0.1:1/journal?sslpassword=hunter3")
    message = str(caught.value)
    assert message.startswith(
        "could not read the journal postgresql+psycopg://alice:***@127.0.0.1:1/journal: no session"
    )
    assert "check that the server runs, the URL" in message
    assert "hunter" not in message
    assert caught.value.exit_code == 1


def test_without_psycopg(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(JournalUsageError, match=r"needs psycopg: pip install 'hostaudit\[postgresql\]'"):
        Journal.open("postgresql://a@127.0.0.1:1/b")


def test_a_file_that_is_something_else(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(JournalError, match="not an SQLite database; check the URL"):
        Journal.open(f"sqlite:///{tmp_path}/journal.db")
    with pytest.raises(JournalError, match="could not create the journal"):
        Journal.open(f"sqlite:///{tmp_path}/journal.db/below")
    with pytest.raises(JournalError, match="could not"):
        Journal.open(f"sqlite:///{tmp_path}")


def test_a_damaged_entry_is_named_when_it_is_read(tmp_path, entry):
    with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        journal.append(entry())
        with journal._database.writing() as connection:
            connection.execute(text("DROP TRIGGER journal_no_update"))
            connection.execute(text("UPDATE journal SET payload = '{'"))
        with pytest.raises(JournalError, match=r"entry 1 of the journal is damaged; `hostaudit log verify`"):
            list(journal.entries())


def test_a_database_that_stays_busy(tmp_path, entry, monkeypatch):
    monkeypatch.setattr("hostaudit.journal.engine.PATIENCE", 0.2)
    url = f"sqlite:///{tmp_path}/journal.db"
    busy = pytest.raises(JournalError, match="another process holds it for longer than half a minute")
    with Journal.open(url) as journal, Journal.open(url) as other, other._database.writing(), busy:
        journal.append(entry())


READER = """
import os, sys
from hostaudit.errors import JournalError
from hostaudit.journal import Journal
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Journal.open(sys.argv[1], readonly=True) as journal:
    print(journal.verify().entries, len(list(journal.entries())), end=" ")
try:
    Journal.open(sys.argv[1])
except JournalError as error:
    print(error)
"""


def read_as_nobody(path):
    done = subprocess.run(
        [sys.executable, "-c", READER, f"sqlite:///{path}"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public(entry):
    """A journal in a folder that everybody may read and root alone may write."""
    import shutil
    import tempfile
    from pathlib import Path

    if os.geteuid() != 0:
        pytest.skip("needs root: to become a user that may not write")
    folder = Path(tempfile.mkdtemp(prefix="ha-journal"))
    folder.chmod(0o755)
    with Journal.open(f"sqlite:///{folder}/journal.db"):
        pass
    (folder / "journal.db").chmod(0o644)  # the files beside it, of the next writer, take its mode
    with Journal.open(f"sqlite:///{folder}/journal.db") as journal:
        for _ in range(3):
            journal.append(entry())
        yield folder / "journal.db", journal
    shutil.rmtree(folder)


@pytest.mark.lab
def test_who_may_not_write_can_read_while_a_writer_has_it_open(public, entry):
    path, journal = public
    assert path.with_name("journal.db-wal").exists()
    said = read_as_nobody(path)
    assert said.startswith("3 3 could not")
    assert "may not be written; check owner and mode of both" in said
    journal.append(entry())
    assert read_as_nobody(path).startswith("4 4 ")


@pytest.mark.lab
def test_who_may_not_write_can_read_when_nobody_has_it_open(public):
    path, journal = public
    journal.close()
    assert not path.with_name("journal.db-wal").exists()
    assert read_as_nobody(path).startswith("3 3 could not")
    assert [p.name for p in path.parent.iterdir()] == ["journal.db"]


@pytest.mark.lab
def test_a_file_read_without_locks_that_changes_meanwhile_is_refused(public, entry, monkeypatch):
    path, journal = public
    journal.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Journal.open(f"sqlite:///{path}", readonly=True) as reader:
        assert reader.verify().entries == 3
        with pytest.raises(JournalError, match="was written while it was read"), reader._database.reading():
            journal.append(entry())


@pytest.fixture
def small(tmp_path):
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root: to mount a file system that can be full or read-only")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", f"ha{os.getpid()}", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.lab
def test_a_full_disk(small, entry):
    url = f"sqlite:///{small}/journal.db"
    with Journal.open(url) as journal:
        with pytest.raises(JournalError, match="the disk is full; free some space"):
            [journal.append(entry(payload={"x": "y" * 20_000})) for _ in range(300)]
        written = journal.verify(journal.head())
        assert written.ok
    with Journal.open(url, readonly=True) as reader:
        assert reader.verify(written.head).entries == written.entries > 3


@pytest.mark.lab
def test_a_full_disk_from_the_start(small):
    (small / "ballast").write_bytes(b"x" * 2_000_000)
    with pytest.raises(JournalError, match=r"the disk is full|the disk is full or fails|No space left"):
        Journal.open(f"sqlite:///{small}/journal.db")


@pytest.mark.lab
def test_a_read_only_disk(small, entry):
    url = f"sqlite:///{small}/journal.db"
    with Journal.open(url) as journal:
        journal.append(entry())
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with Journal.open(url, readonly=True) as reader:
        assert reader.verify().entries == 1
    with pytest.raises(JournalError, match="whether the disk is mounted read-only"), Journal.open(url) as journal:
        journal.append(entry())
    with pytest.raises(JournalError, match="Read-only file system"):
        Journal.open(f"sqlite:///{small}/other/journal.db")


REFUSALS = {
    "read-only": ("ALTER DATABASE {} SET default_transaction_read_only = on", "it is read-only, maybe a standby"),
    "privilege": ("ALTER DATABASE {} OWNER TO postgres", "its user lacks a privilege"),
    "dropped": ("DROP DATABASE {}", "does not exist"),
    "locked out": ("ALTER ROLE {} NOLOGIN", "not permitted to log in"),
}


@pytest.mark.lab
@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_that_refuses(postgresql, name):
    server, psql = postgresql
    statement, says = REFUSALS[name]
    both = f"f{list(REFUSALS).index(name)}_{os.getpid()}"  # role and database
    for part in (f"CREATE ROLE {both} LOGIN", f"CREATE DATABASE {both} OWNER {both}", statement.format(both)):
        subprocess.run([*psql, "-c", part, "postgres"], check=True, capture_output=True)
    with pytest.raises(JournalError) as caught:
        Journal.open(f"{server.replace('postgres@', f'{both}@')}/{both}")
    assert says in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.lab
def test_a_team_may_append_but_not_undo(postgresql, entry):
    server, psql = postgresql
    name = f"g{os.getpid()}"
    subprocess.run([*psql, "-c", f"CREATE DATABASE {name}", "postgres"], check=True)
    with Journal.open(f"{server}/{name}") as owner:
        owner.append(entry())
    grants = (
        "CREATE ROLE ha_operator LOGIN; GRANT SELECT ON journal_schema TO ha_operator;"
        "GRANT SELECT, INSERT ON journal TO ha_operator; GRANT SELECT, INSERT, DELETE ON fleet_lock TO ha_operator"
    )
    subprocess.run([*psql, "-c", grants, name], check=True)
    with Journal.open(f"{server.replace('postgres@', 'ha_operator@')}/{name}") as journal:
        journal.append(Entry(Kind.NOTE, entry().time, entry().actor))
        assert journal.verify(journal.head()).entries == 2
        with journal.lock("prod", entry().actor, entry().time) as held:
            held.check()
        raised = pytest.raises(JournalError, match="its user lacks a privilege")
        with raised, journal._database.writing() as connection:
            connection.execute(text("ALTER TABLE journal DISABLE TRIGGER ALL"))
