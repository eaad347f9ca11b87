"""`hostaudit diff`, `history` and `baseline` on a store: what a person reads, and what a mistake is answered with."""

import pytest
from tests.controller.history.conftest import Fleet

from hostaudit.cli import main
from hostaudit.commands.storing import stored
from hostaudit.history import History

FIN = "net.ipv4.tcp_fin_timeout"


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Eight hosts, seven of them changed alike between two runs; the working directory and the journal are new."""
    made = Fleet(8)
    url = f"sqlite:///{tmp_path}/j.db"
    monkeypatch.setenv("HOSTAUDIT_JOURNAL", url)
    monkeypatch.chdir(tmp_path)
    with History.open(url) as history:
        stored(history, made.day(), "run")
        for name in list(made.hosts)[:7]:
            made.knob(name, FIN).running = "33"
        stored(history, made.day(), "drift")
    return made


def test_hosts_with_the_same_difference_share_a_line(fleet, capsys):
    del fleet
    assert main(["diff", "last~1"]) == 16
    first, *lines = capsys.readouterr().out.splitlines()
    assert " -> " in first
    assert lines == [f"web01, web02, web03, web04, web05, web06 and 1 more: {FIN}: 60 -> 33"]
    assert main(["diff", "last~1", "--host", "web08"]) == 0
    assert main(["diff", "last~1", "--host", "web0[12]"]) == 16
    assert capsys.readouterr().out.splitlines()[1:] == [f"web01, web02: {FIN}: 60 -> 33"]


def test_the_baseline_says_what_it_takes(fleet, capsys):
    del fleet
    assert main(["baseline", "accept", "-l", "web01"]) == 0
    assert " facts of 1 host accepted as run " in capsys.readouterr().out
    assert main(["baseline", "accept", "-l", "web01"]) == 0
    assert "nothing to accept: it has all this as run " in capsys.readouterr().out
    assert main(["baseline", "accept", "-l", "db*"]) == 2
    said = capsys.readouterr().err
    assert "it read web01, web02, web03, web04, web05, web06 and 2 more" in said


def test_the_history_is_a_line_for_a_run(fleet, capsys):
    del fleet
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["run", "drift"]
    assert all(line.endswith("0 findings (0 active), 0 not known") for line in lines)
