"""The judge of the faults sees what it must: a byte, a mode, a kernel value, a guard; a journal that says otherwise."""

import sqlite3
from collections.abc import Iterator

import pytest
from labkit import hosts
from labkit.hosts import Spec
from labkit.rig import Rig
from labkit.wholeness import BEFORE, CHANGED

pytestmark = pytest.mark.long

HALVES = {
    "a value": "sysctl -qw net.ipv4.tcp_syncookies=0",
    "a byte": "echo '# x' >>/etc/sysctl.d/zz-hostaudit.conf",
    "a mode": "chmod 600 /etc/sysctl.d/zz-hostaudit.conf",
    "a file that is gone": "rm /etc/sysctl.d/zz-hostaudit.conf",
    "a file that came": "touch /etc/sysctl.d/.zz-hostaudit.conf.x",
    "a guard": "mkdir -p /var/lib/hostaudit/guard/x",
    "a unit": "touch /etc/systemd/system/hostaudit-guard-x.timer",
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with hosts.up({"j13": Spec("boot:trixie", groups=("web",))}) as names:
        made = Rig(names, tmp_path_factory.mktemp("judge"))
        made.prepare()
        yield made


@pytest.fixture
def judged(rig: Rig) -> Rig:
    rig.set(CHANGED)
    return rig


def test_a_change_without_a_fault_is_whole(judged: Rig) -> None:
    assert judged.judge(BEFORE, 0).hosts == {"j13": CHANGED}
    assert not str(judged.judge(BEFORE, 0))


@pytest.mark.parametrize("what", HALVES)
def test_what_is_half_is_seen(judged: Rig, what: str) -> None:
    hosts.script("j13", HALVES[what])
    assert judged.judge(BEFORE, 0).half, what
    hosts.script("j13", "rm -f /etc/sysctl.d/.zz-hostaudit.conf.x")


def test_a_journal_that_says_otherwise_is_seen(judged: Rig) -> None:
    judged.set(BEFORE)
    changed = (judged.directory / f"{CHANGED}.db").read_bytes()
    judged.journal.write_bytes(changed)
    assert "j13 is wholly as before, and the journal says wholly changed" in str(judged.judge(BEFORE, 0))


def test_a_chain_that_is_broken_is_seen(judged: Rig) -> None:
    with sqlite3.connect(judged.journal) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE journal SET reason = 'x' WHERE sequence = 2")
    assert "entry 2" in str(judged.judge(BEFORE, 0))


def test_a_change_without_an_end_and_a_lock_are_seen(judged: Rig) -> None:
    with sqlite3.connect(judged.journal) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM journal WHERE kind = 'change-end'")
        columns = [row[1] for row in database.execute("PRAGMA table_info(fleet_lock)")]
        marks = ",".join("1" for _ in columns)
        database.execute(f"INSERT INTO fleet_lock VALUES ({marks})")  # noqa: S608 - made here
    said = str(judged.judge(BEFORE, 0))
    assert "has no end of" in said
    assert "still locked" in said


def test_a_host_whose_own_log_says_otherwise_is_seen(judged: Rig) -> None:
    hosts.script("j13", "sed -i /confirmed/d /var/log/hostaudit/changes.jsonl")
    assert "its own log says nothing" in str(judged.judge(BEFORE, 0))
