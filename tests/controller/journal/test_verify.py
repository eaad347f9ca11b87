"""Verification names the first entry that is not as it was written. The attacker here removes the triggers first."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from hostaudit.errors import JournalUsageError
from hostaudit.journal import Head, Journal, Kind, Problem
from hostaudit.journal.entry import digest
from hostaudit.journal.tables import JOURNAL

SIX = 6


@pytest.fixture
def six(journal, entry):
    """A journal of six entries whose triggers are gone."""
    for number in range(SIX):
        journal.append(entry(Kind.STEP, host=f"pve{number}", payload={"before": number, "after": number + 1}))
    with journal._database.writing() as connection:
        on = " ON journal" if connection.dialect.name == "postgresql" else ""
        for what in ("no_change", "no_truncate", "no_update", "no_delete", "chain"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS journal_{what}{on}"))
    return journal


def tamper(journal, *statements):
    with journal._database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


CASES = {
    "untouched": ([], None, None),
    "a reason altered": (["UPDATE journal SET reason = 'x' WHERE sequence = 3"], Problem.ALTERED, 3),
    "a payload altered": (["UPDATE journal SET payload = '{}' WHERE sequence = 2"], Problem.ALTERED, 2),
    "a payload written in other words": (
        ["UPDATE journal SET payload = payload || ' ' WHERE sequence = 2"],
        Problem.ALTERED,
        2,
    ),
    "a payload that is no JSON": (["UPDATE journal SET payload = '{' WHERE sequence = 2"], Problem.ALTERED, 2),
    "a payload too deep to read": (
        ["UPDATE journal SET payload = '" + "[" * 9999 + "' WHERE sequence = 2"],
        Problem.ALTERED,
        2,
    ),
    "a time altered": (["UPDATE journal SET time = 'yesterday' WHERE sequence = 6"], Problem.ALTERED, 6),
    "an id altered": (["UPDATE journal SET id = 'x' WHERE sequence = 1"], Problem.ALTERED, 1),
    "a hash altered": (["UPDATE journal SET hash = 'x' WHERE sequence = 4"], Problem.ALTERED, 4),
    "a link altered": (["UPDATE journal SET previous = 'x' WHERE sequence = 4"], Problem.ALTERED, 4),
    "one removed": (["DELETE FROM journal WHERE sequence = 3"], Problem.MISSING, 3),
    "the first removed": (["DELETE FROM journal WHERE sequence = 1"], Problem.MISSING, 1),
    "one removed, and the rest renumbered": (
        ["DELETE FROM journal WHERE sequence = 5", "UPDATE journal SET sequence = 5 WHERE sequence = 6"],
        Problem.REORDERED,
        5,
    ),
    "two exchanged": (
        [
            "UPDATE journal SET sequence = 99 WHERE sequence = 2",
            "UPDATE journal SET sequence = 2 WHERE sequence = 4",
            "UPDATE journal SET sequence = 4 WHERE sequence = 99",
        ],
        Problem.REORDERED,
        2,
    ),
    "the end cut off": (["DELETE FROM journal WHERE sequence > 4"], Problem.TRUNCATED, 5),
    "everything removed": (["DELETE FROM journal"], Problem.TRUNCATED, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_broken_entry_is_named(six, name):
    statements, problem, at = CASES[name]
    head, ids = six.head(), {e.sequence: e.id for e in six.entries()}
    tamper(six, *statements)
    verdict = six.verify(head)
    assert (verdict.problem, verdict.broken_at) == (problem, at), verdict.reason
    assert verdict.ok == (problem is None)
    assert verdict.entries == (at - 1 if at else SIX)
    if problem in (Problem.ALTERED, Problem.REORDERED):
        assert f"entry {at} (" in verdict.reason
        assert verdict.broken_id in verdict.reason
    if problem is Problem.REORDERED:
        assert verdict.broken_id == ids[{5: 6, 2: 4}[at]]


def test_without_a_kept_head_a_cut_is_not_seen_and_the_verdict_says_so(six):
    tamper(six, "DELETE FROM journal WHERE sequence > 4")
    verdict = six.verify()
    assert verdict.ok
    assert verdict.reason.startswith("4 entries, one chain; whether its end was cut off is known only with a head")


def rewrite(journal, first, number_of_links):
    """Alter an entry and make its hash anew, and those of as many entries after it."""
    with journal._database.writing() as connection:
        rows = [dict(r) for r in connection.execute(text("SELECT * FROM journal ORDER BY sequence")).mappings()]
        connection.execute(text("DELETE FROM journal"))
        previous = ""
        for row in rows:
            if row["sequence"] == first:
                row["reason"] = "it was not me"
            if first <= row["sequence"] <= first + number_of_links:
                row["previous"] = row["previous"] if row["sequence"] == first else previous
                row["hash"] = digest(row)
            previous = row["hash"]
            connection.execute(insert(JOURNAL).values(**row))


@pytest.mark.parametrize("links", [0, 1, 2])
def test_a_hash_made_anew_does_not_help(six, links):
    rewrite(six, 3, links)
    verdict = six.verify()
    assert (verdict.problem, verdict.broken_at) == (Problem.REWRITTEN, 3 + links)
    assert "was written anew, hash included" in verdict.reason


def test_a_whole_chain_made_anew_is_seen_with_a_kept_head_only(six):
    head, early = six.head(), Head(2, six.get(next(e.id for e in six.entries() if e.sequence == 2)).hash)
    rewrite(six, 3, SIX)
    assert six.verify().ok
    assert six.verify(early).ok
    verdict = six.verify(head)
    assert (verdict.problem, verdict.broken_at) == (Problem.REWRITTEN, 6)
    assert "not the one of the head that was kept" in verdict.reason


def test_a_journal_that_grew_since_the_head_was_kept_is_sound(six, entry):
    head = six.head()
    six.append(entry())
    assert six.verify(head).ok
    assert six.verify(head).head == six.head()


def test_a_head_is_written_and_read(six):
    assert Head.parse(f" {six.head()}\n") == six.head()
    for wrong in ("", "1", "0:" + "0" * 64, "1:" + "0" * 63, "x:" + "0" * 64, "1:" + "G" * 64, "-1:" + "0" * 64):
        with pytest.raises(JournalUsageError, match="SEQUENCE:HASH"):
            Head.parse(wrong)


@pytest.fixture
def file(tmp_path, entry):
    with Journal.open(f"sqlite:///{tmp_path}/journal.db") as journal:
        for number in range(4):
            journal.append(entry(Kind.STEP, change="c1", host="pve1", reason="why", ticket="T", payload={"n": number}))
        head = journal.head()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as raw:
        for trigger in ("journal_no_update", "journal_no_delete", "journal_chain"):
            raw.execute(f"DROP TRIGGER {trigger}")
        raw.commit()
    return tmp_path / "journal.db", head


COLUMNS = [c.name for c in JOURNAL.columns]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.sampled_from(COLUMNS), st.text() | st.integers(5, 9) | st.none() | st.binary())
def test_any_change_of_any_field_is_seen(file, sequence, column, value):
    path, head = file
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        before = raw.execute("SELECT * FROM journal ORDER BY sequence").fetchall()
        try:
            raw.execute(f"UPDATE journal SET {column} = ? WHERE sequence = ?", (value, sequence))  # noqa: S608 - a column
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return
        same = raw.execute("SELECT * FROM journal ORDER BY sequence").fetchall() == before
        try:
            with Journal.open(f"sqlite:///{path}", readonly=True) as journal:
                verdict = journal.verify(head)
            assert verdict.ok == same, verdict
            assert same or verdict.broken_at == sequence or column == "sequence"
        finally:
            raw.execute("DELETE FROM journal")
            raw.executemany(f"INSERT INTO journal VALUES ({','.join('?' * len(COLUMNS))})", before)  # noqa: S608 - marks
