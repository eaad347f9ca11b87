"""Runs are stored once for what did not change, given back as they were, and removed by age; SQLite and PostgreSQL."""

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.controller.history.conftest import START, Fleet

from hostaudit.commands.storing import stored
from hostaudit.errors import JournalError, UsageError
from hostaudit.history import History
from hostaudit.history.pack import join, split
from hostaudit.model import Status
from hostaudit.volatile import OF_THE_MOMENT


def counted(history, table):
    with history._database.reading() as connection:
        return connection.exec_driver_sql(f"SELECT count(*) FROM history_{table}").scalar()  # noqa: S608 - a name of ours


def test_a_snapshot_is_what_it_was():
    for snapshot in Fleet(2).hosts.values():
        parts, moving = split(snapshot)
        whole = join(parts, moving)
        for name in OF_THE_MOMENT:
            setattr(snapshot, name, None)
        assert whole == snapshot
        assert len(moving) < 600


def test_unchanged_surfaces_are_stored_once(address, fleet):
    with History.open(address) as history:
        stored(history, fleet.day(), "run")
        blobs, states = counted(history, "blob"), counted(history, "state")
        stored(history, fleet.day(), "run")
        assert (counted(history, "blob"), counted(history, "state")) == (blobs, states)
        fleet.knob("web03", "net.core.somaxconn").running = "99"
        stored(history, fleet.day(), "run")
        assert (counted(history, "blob"), counted(history, "state")) == (blobs + 1, states + 1)
        assert counted(history, "seen") == 60


def test_a_run_is_given_back(address, fleet):
    done = fleet.day()
    with History.open(address) as history:
        stored(history, done, "run")
        for _ in range(3):
            stored(history, fleet.day(), "run")
        first = history.read.runs()[0]
        assert history.read.find(done.run.id[:16]) == first
        assert history.read.find("last~3") == first
        again = {one.host.name: one for one in history.read.snapshots(first, ["web07", "web08"])}
        assert list(again) == ["web07", "web08"]
        assert again["web07"].snapshot == replace(done.answers[6].snapshot, **dict.fromkeys(OF_THE_MOMENT))
        assert again["web07"].host.variables == {"hostaudit_cohort": "web"}, "no secrets are stored"
        run = history.read.run(first)
    assert (run.id, run.counts, run.hosts) == (done.run.id, done.run.counts, done.run.hosts)
    assert [f for f in run.findings if f.status is Status.FAIL] == [
        f for f in done.run.findings if f.status is Status.FAIL
    ]
    assert {(f.check, f.host, f.status) for f in run.findings} == {
        (f.check, f.host, f.status) for f in done.run.findings
    }


def test_old_runs_go_and_the_state_they_saw_stays(address, fleet):
    with History.open(address) as history:
        for day in range(10):
            fleet.knob("web01", "net.core.somaxconn").running = str(day)
            stored(history, fleet.day(silent=("web02",) if day > 2 else ()), "run")
        assert history.prune(4, START + timedelta(days=11)) == 6
        runs = history.read.runs()
        assert [run.started[8:10] for run in runs] == ["08", "09", "10", "11"]
        assert "web02" not in history.read.hosts(), "it answered in none that is left"
        ages = [next(history.read.snapshots(run, ["web01"])).snapshot for run in runs]
        assert [one.sysctl.knobs["net.core.somaxconn"].running for one in ages] == ["6", "7", "8", "9"]
        assert history.prune(1, START + timedelta(days=400)) == 3
        assert len(history.read.runs()) == 1, "the newest stays"


def test_a_surface_that_was_not_read_is_none_of_the_old_one(address, fleet):
    with History.open(address) as history:
        stored(history, fleet.day(), "run")
        kept, fleet.hosts["web01"].firewall = fleet.hosts["web01"].firewall, None
        stored(history, fleet.day(), "run")
        fleet.hosts["web01"].firewall = kept
        stored(history, fleet.day(), "run")
        seen = [next(history.read.snapshots(run, ["web01"])).snapshot.firewall for run in history.read.runs()]
    assert seen == [kept, None, kept]


def test_names_of_runs(address, fleet):
    with History.open(address) as history:
        stored(history, fleet.day(), "run")
        stored(history, fleet.day(), "run")
        assert history.read.find("2026-11-03").started.startswith("2026-11-02"), "the last one before"
        for wrong in ("last~2", "2020-01-01", "nonsense"):
            with pytest.raises(UsageError, match="history"):
                history.read.find(wrong)
        with pytest.raises(UsageError, match="several runs"):
            history.read.find("2026110")


def test_a_history_that_may_not_be_written_is_said(tmp_path, fleet):
    url = f"sqlite:///{tmp_path}/j.db"
    with History.open(url) as history:
        stored(history, fleet.day(), "run")
    with History.open(url, readonly=True) as history, pytest.raises(JournalError, match="reading only"):
        stored(history, fleet.day(), "run")


def test_a_journal_of_before_gets_the_tables(tmp_path):
    from hostaudit.journal import Journal

    url = f"sqlite:///{tmp_path}/j.db"
    Journal.open(url).close()
    with sqlite3.connect(tmp_path / "j.db") as database:
        for table in ("run", "host", "blob", "state", "seen", "drift"):
            database.execute(f"DROP TABLE history_{table}")
        database.execute("UPDATE journal_schema SET version_num = '0001'")
    database.close()
    with History.open(url) as history:
        assert history.read.runs() == []
