"""The journal, in both databases."""

import hashlib
import stat
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from hostaudit.errors import JournalError, JournalUsageError
from hostaudit.history import tables as _history_tables  # noqa: F401 - adds its tables to the journal's
from hostaudit.journal import Actor, Journal, Kind, whoami
from hostaudit.journal.engine import VERSIONS, default_url


def test_what_is_written_is_read_back(journal, entry):
    payload = {"before": {"nf_conntrack_max": 65536}, "after": None, "ratio": 0.1, "text": "é\x00\ud800", "list": [1]}
    stored = journal.append(
        entry(Kind.STEP, change="c1", host="pve1", reason="tab\tünï\x00", ticket="OPS-7", payload=payload)
    )
    assert journal.get(stored.id) == stored
    assert stored.payload == payload
    assert (stored.sequence, stored.previous, stored.reason) == (1, "0" * 64, "tab\tünï\ufffd")
    assert stored.actor.ssh == "192.0.2.7 50022 192.0.2.1 22"
    assert str(stored.time) == "2026-11-21 12:00:00+00:00"


def test_the_hash_can_be_made_by_hand(journal, entry):
    first = journal.append(entry())
    second = journal.append(entry(Kind.RUN, host="pve1", payload={"b": 1, "a": [0.5, "ü"]}))
    by_hand = (
        '{"actor":{"machine":"admin1","run_as":"","ssh":"192.0.2.7 50022 192.0.2.1 22","user":"alice"},"change":"",'
        f'"format":1,"host":"pve1","id":"{second.id}","kind":"run","payload":{{"a":[0.5,"\\u00fc"],"b":1}},'
        '"reason":"","sequence":2,"ticket":"","time":"2026-11-21T12:01:00.000000Z"}'
    )
    assert second.previous == first.hash
    assert second.hash == hashlib.sha256((first.hash + by_hand).encode("ascii")).hexdigest()


def test_entries_are_filtered_and_come_in_either_order(journal, entry):
    for host in ("pve1", "pve2", "pve1"):
        journal.append(entry(Kind.STEP, host=host, change="c1"))
    last = journal.append(entry(Kind.CHANGE_END, change="c1"))

    def numbers(**filters):
        return [e.sequence for e in journal.entries(**filters)]

    assert numbers() == [1, 2, 3, 4]
    assert numbers(newest_first=True) == [4, 3, 2, 1]
    assert numbers(host="pve1") == [1, 3]
    assert numbers(kinds=[Kind.CHANGE_END, "never"]) == [4]
    assert numbers(change="c1", host="pve2") == [2]
    assert numbers(user="bob") == []
    assert numbers(since=last.time - timedelta(minutes=1)) == [3, 4]
    assert numbers(until=last.time) == [1, 2, 3]


def test_more_entries_than_a_page(journal, entry, monkeypatch):
    monkeypatch.setattr("hostaudit.journal.store.PAGE", 3)
    for _ in range(9):
        journal.append(entry())
    assert [e.sequence for e in journal.entries()] == list(range(1, 10))
    assert [e.sequence for e in journal.entries(newest_first=True)] == list(range(9, 0, -1))
    assert journal.verify(journal.head()).entries == 9


def test_an_entry_is_found_by_the_beginning_of_its_id(journal, entry):
    for identity in ("abc1", "abc2", "abd_"):
        journal.append(entry(id=identity))
    assert journal.get("abd").id == "abd_"
    with pytest.raises(JournalUsageError, match=r"several entries begin with abc: abc1, abc2"):
        journal.get("abc")
    for nothing in ("x", "", "%", "a_c"):
        with pytest.raises(JournalUsageError, match="no entry"):
            journal.get(nothing)
    with pytest.raises(JournalUsageError, match="has an entry abc1 already"):
        journal.append(entry(id="abc1"))
    assert journal.verify().entries == 3


COLUMNS = "time, kind, change, host, actor_user, actor_machine, actor_ssh, actor_run_as, reason, ticket, payload"
CHANGES = {
    "update": "UPDATE journal SET reason = 'x'",
    "update one": "UPDATE journal SET reason = 'x' WHERE sequence = 1",
    "delete": "DELETE FROM journal",
    "delete the last": "DELETE FROM journal WHERE sequence = 2",
    "leave a gap": "INSERT INTO journal SELECT 9, 'x', COLUMNS, hash, 'h' FROM journal WHERE sequence = 2",
    "fork": "INSERT INTO journal SELECT 3, 'x', COLUMNS, 'p', 'h' FROM journal WHERE sequence = 2",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_database_refuses_to_change_it(journal, entry, change):
    for _ in range(2):
        journal.append(entry())
    with pytest.raises(JournalError, match="append-only"), journal._database.writing() as connection:
        connection.execute(text(CHANGES[change].replace("COLUMNS", COLUMNS)))
    assert journal.verify(journal.head()).ok


def test_replacing_and_truncating_are_refused_too(journal, entry):
    for number in (1, 2):
        journal.append(entry(id=f"id{number}"))
    statement = "INSERT OR REPLACE INTO journal SELECT 3, 'id1', COLUMNS, hash, 'h' FROM journal WHERE sequence = 2"
    if journal._database.engine.dialect.name == "postgresql":
        statement = "TRUNCATE journal"
    with pytest.raises(JournalError, match="append-only"), journal._database.writing() as connection:
        connection.execute(text(statement.replace("COLUMNS", COLUMNS)))
    assert journal.verify(journal.head()).entries == 2


def test_anything_can_be_a_payload_but_not_of_any_size(journal, entry):
    odd = {
        "path": PurePosixPath("/etc"),
        "nan": float("nan"),
        "actor": Actor("a", "b"),
        7: (1, 2),
        "bytes": b"x",
        "set": {1},
    }
    stored = journal.append(entry(payload=odd))
    assert stored.payload["path"] == "/etc"
    assert stored.payload["nan"] == "nan"
    assert stored.payload["actor"]["user"] == "a"
    assert stored.payload["7"] == [1, 2]
    with pytest.raises(JournalError, match="keep the file elsewhere"):
        journal.append(entry(payload={"x": "y" * (9 << 20)}))
    loop = {}
    loop["loop"] = loop
    with pytest.raises(JournalError, match="what JSON cannot"):
        journal.append(entry(payload=loop))
    assert journal.verify().entries == 1


def test_secrets_do_not_enter(journal, entry):
    stored = journal.append(
        entry(
            reason="because password=hunter2", payload={"ansible_become_pass": "hunter2", "url": "https://a:hunter2@b/"}
        )
    )
    with journal._database.reading() as connection:
        row = connection.execute(text("SELECT * FROM journal")).one()
    assert "hunter2" not in repr(tuple(row))
    assert "hunter2" not in repr(stored)


def test_who_behind_sudo():
    actor = whoami({"SUDO_USER": "alice", "SSH_CONNECTION": "192.0.2.7 1 192.0.2.1 22", "LOGNAME": "root"})
    assert (actor.user, actor.ssh) == ("alice", "192.0.2.7 1 192.0.2.1 22")
    assert actor.run_as != "alice"


def test_a_newer_schema_is_left_alone(journal, address):
    with journal._database.writing() as connection:
        connection.execute(text("UPDATE journal_schema SET version_num = '9999'"))
    for readonly in (True, False):
        with pytest.raises(JournalError, match=r"newer hostaudit \(schema 9999, this one knows up to"):
            Journal.open(address, readonly=readonly)


def test_reading_creates_nothing(address, entry):
    with pytest.raises(JournalError, match=r"there is no journal at|holds no journal"):
        Journal.open(address, readonly=True)
    with Journal.open(address):
        pass
    with Journal.open(address, readonly=True) as reader:
        assert reader.verify().reason == "no entries"
        with pytest.raises(JournalError, match="for reading only"):
            reader.append(entry())


def test_the_default_is_a_private_file_of_this_user(tmp_path, entry):
    assert default_url({"XDG_STATE_HOME": "/s"}).database == "/s/hostaudit/journal.db"
    relative = {"HOME": "/h", "XDG_STATE_HOME": "not/absolute"}
    assert default_url(relative).database == "/h/.local/state/hostaudit/journal.db"
    with Journal.open(environ={"XDG_STATE_HOME": str(tmp_path / "a b%?#")}) as journal:
        journal.append(entry())
    file = tmp_path / "a b%?#" / "hostaudit" / "journal.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_the_versions_that_are_known_are_those_that_exist():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import hostaudit.journal.engine

    config = Config()
    config.set_main_option("script_location", str(Path(hostaudit.journal.engine.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    steps = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(steps)) == VERSIONS


def test_the_schema_is_that_of_the_tables(journal):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from hostaudit.journal.tables import metadata

    with journal._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "journal_schema"})
        assert compare_metadata(context, metadata) == []


def test_an_error_of_the_database_is_never_shown_raw(journal):
    raised = pytest.raises(JournalError, match="could not write the journal")
    with raised as caught, journal._database.writing() as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert isinstance(caught.value.__cause__, DBAPIError)
