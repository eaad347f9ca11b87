"""Several controllers write one journal, and some are killed: one chain, no acknowledged entry lost."""

import signal
import subprocess
import sys
import time
from collections import Counter

from sqlalchemy import create_engine, text

from hostaudit.journal import Journal

EACH = 200
WRITER = """
import sys
from datetime import UTC, datetime
from hostaudit.journal import Entry, Journal, Kind, whoami
address, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Journal.open(address) as journal:
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(number):
        stored = journal.append(Entry(Kind.STEP, datetime.now(UTC), whoami(), host=name, payload={"i": i}))
        print(stored.sequence, stored.hash, flush=True)
"""


def writer(address, name, number):
    command = [sys.executable, "-c", WRITER, address, name, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(*writers):
    """Let them begin at the same time, once all are open."""
    for one in writers:
        assert one.stdout.readline() == "open\n"
    for one in writers:
        one.stdin.write("\n")
        one.stdin.flush()


def test_two_controllers_write_one_chain(address):
    # both find no schema: the migration is run by one of them
    writers = [writer(address, name, EACH) for name in ("one", "two")]
    go(*writers)
    told = [one.communicate(timeout=120)[0].split() for one in writers]
    assert [one.returncode for one in writers] == [0, 0]
    with Journal.open(address) as journal:
        verdict = journal.verify(journal.head())
        stored = list(journal.entries())
    assert (verdict.ok, verdict.entries) == (True, 2 * EACH), verdict.reason
    assert Counter(e.host for e in stored) == {"one": EACH, "two": EACH}
    for name, lines in zip(("one", "two"), told, strict=True):
        mine = [e for e in stored if e.host == name]
        assert [str(e.sequence) for e in mine] == lines[::2]
        assert [e.hash for e in mine] == lines[1::2]
        assert [e.payload["i"] for e in mine] == list(range(EACH))


def test_many_open_a_new_journal_at_once(address):
    writers = [writer(address, str(i), 1) for i in range(5)]
    go(*writers)
    assert [one.communicate(timeout=60) and one.returncode for one in writers] == [0] * 5
    with Journal.open(address) as journal:
        assert journal.verify(journal.head()).entries == 5


def test_killed_controllers_lose_nothing_that_was_acknowledged(address):
    steady = writer(address, "steady", 100)
    go(steady)
    told = {}
    for turn in range(6):
        victim = writer(address, "victim", 10_000)
        go(victim)
        lines = [victim.stdout.readline() for _ in range(1 + 7 * turn)]
        victim.send_signal(signal.SIGKILL)
        lines += victim.communicate(timeout=30)[0].splitlines(keepends=True)
        told |= dict(line.split() for line in lines if line.endswith("\n"))
    told |= dict(line.split() for line in steady.communicate(timeout=60)[0].splitlines())
    assert steady.returncode == 0
    with Journal.open(address) as journal:
        verdict = journal.verify(journal.head())
        stored = {str(e.sequence): e.hash for e in journal.entries()}
    assert verdict.ok, verdict.reason
    assert told.items() <= stored.items()
    assert len(stored) - len(told) <= 6  # written, and killed before it could say so
    assert len(told) > 200


HOLDER = """
import os, sys, time
from hostaudit.journal.engine import connect
with connect(sys.argv[1], readonly=False).writing():
    print("holds", flush=True)
    time.sleep(60)
"""


def test_a_writer_that_is_killed_inside_its_transaction_blocks_nobody(address, entry):
    with Journal.open(address) as journal:
        journal.append(entry())
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, address], stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "holds\n"
        holder.kill()
        holder.communicate()
        before = time.monotonic()
        journal.append(entry())
        assert time.monotonic() - before < 10
        assert journal.verify(journal.head()).entries == 2


def test_reading_does_not_wait_for_a_writer(address, entry):
    with Journal.open(address) as journal:
        journal.append(entry())
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, address], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "holds\n"
            with Journal.open(address, readonly=True) as reader:
                assert reader.verify().entries == 1
        finally:
            holder.kill()
            holder.communicate()


def test_a_server_that_hung_up_is_asked_again(address, entry, monkeypatch):
    if not address.startswith("postgresql"):
        return
    with Journal.open(address) as journal:
        journal.append(entry())
        terminate = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hostaudit'")
        admin = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
        try:
            # between two entries
            with admin.connect() as connection:
                assert connection.execute(terminate).all()
            journal.append(entry())

            # in the middle of one
            from hostaudit.journal import store

            chained, cuts = store._chained, []

            def cut(connection, row):
                stored = chained(connection, row)
                if not cuts:
                    cuts.append(stored.id)
                    with admin.connect() as other:
                        assert other.execute(terminate).all()
                return stored

            monkeypatch.setattr(store, "_chained", cut)
            again = journal.append(entry())
            assert cuts == [again.id]
        finally:
            admin.dispose()
        verdict = journal.verify(journal.head())
        assert (verdict.ok, verdict.entries) == (True, 3)
