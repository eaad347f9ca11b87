"""A store that another controller writes: a run waits for it, and says in one sentence when that took too long."""

import threading

import pytest

from hostaudit.commands.storing import keep
from hostaudit.history import History


@pytest.fixture
def url(tmp_path):
    found = f"sqlite:///{tmp_path}/j.db"
    History.open(found).close()
    return found


def options(url):
    return {"no_store": False, "from_": None, "keep": 400.0, "journal": url, "policy": None}


def test_it_waits_and_then_stores(url, fleet, capsys):
    held, done = threading.Event(), fleet.day()

    def hold():
        with History.open(url) as other, other._database.writing():
            held.set()
            waited.wait(2)

    waited = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    threading.Timer(0.5, waited.set).start()
    keep(done, options(url))
    thread.join()
    assert capsys.readouterr().err == ""
    with History.open(url, readonly=True) as history:
        assert [one.id for one in history.read.runs()] == [done.run.id]


def test_it_says_so_when_that_takes_too_long(url, fleet, capsys, monkeypatch):
    monkeypatch.setattr("hostaudit.journal.engine.PATIENCE", 0.3)
    with History.open(url) as other, other._database.writing():
        keep(fleet.day(), options(url))
    said = capsys.readouterr().err
    assert said.startswith("hostaudit: this run is not in the history: could not write the journal ")
    assert "another process holds it for longer than half a minute; see who with `fuser`" in said
    assert said.count("\n") == 1


def test_old_runs_that_cannot_be_removed_are_no_run_that_is_lost(url, fleet, capsys, monkeypatch):
    monkeypatch.setattr("hostaudit.journal.engine.PATIENCE", 0.3)
    prune = History.prune

    def pruned(history, days, now):
        with History.open(url) as other, other._database.writing():
            return prune(history, days / 1e6, now)

    keep(fleet.day(), options(url))
    monkeypatch.setattr(History, "prune", pruned)
    keep(fleet.day(), options(url))
    assert capsys.readouterr().err.startswith("hostaudit: old runs are still in the history: could not write")
    with History.open(url, readonly=True) as history:
        assert len(history.read.runs()) == 2
