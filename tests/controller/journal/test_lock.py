"""The locks of fleets."""

import os
import signal
import subprocess
import sys

import pytest

from hostaudit.errors import FleetLockedError, JournalError, JournalUsageError
from hostaudit.journal import Actor, Journal, whoami
from hostaudit.journal.process import Fate, Process


def test_two_applies_do_not_meet(journal, entry, address):
    now = entry().time
    with journal.lock("prod", whoami(), now, change="c1") as mine, Journal.open(address) as other:
        mine.check()
        with other.lock("staging", whoami(), now):
            pass
        with pytest.raises(FleetLockedError) as refused, other.lock("prod", Actor("bob", "admin2"), now):
            pytest.fail("two hold one fleet")
        message = str(refused.value)
        for part in (
            "fleet prod is locked by",
            "for change c1",
            str(os.getpid()),
            "which is running",
            "2026-11-21T12:00:00Z",
        ):
            assert part in message
        assert refused.value.exit_code == 75
    assert journal.holder("prod") is None
    with journal.lock("prod", whoami(), now):
        pass


def test_a_lock_is_given_back_when_the_change_fails(journal, entry):
    with pytest.raises(ZeroDivisionError), journal.lock("prod", whoami(), entry().time):
        raise ZeroDivisionError
    assert journal.holder("prod") is None


TAKES_AND_DIES = """
import os, signal, sys
from datetime import UTC, datetime
from hostaudit.journal import Journal, whoami
with Journal.open(sys.argv[1]) as journal, journal.lock("prod", whoami(), datetime(2026, 11, 21, tzinfo=UTC), "c9"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_controller_is_not_stolen_but_broken_with_a_reason(journal, entry, address):
    died = subprocess.run([sys.executable, "-c", TAKES_AND_DIES, address], check=False)
    assert died.returncode == -signal.SIGKILL
    now = entry().time
    with pytest.raises(FleetLockedError, match="which is gone: it ended without"), journal.lock("prod", whoami(), now):
        pytest.fail("a lock was stolen")
    with pytest.raises(JournalUsageError, match="say why"):
        journal.break_lock("prod", whoami(), now, " ")
    broken = journal.break_lock("prod", whoami(), now, "admin1 was rebooted")
    assert (broken.kind, broken.change, broken.reason) == ("lock-broken", "c9", "admin1 was rebooted")
    assert broken.payload["fleet"] == "prod"
    assert broken.payload["process"] == "gone"
    with journal.lock("prod", whoami(), now):
        pass
    with pytest.raises(JournalError, match="fleet prod is not locked"):
        journal.break_lock("prod", whoami(), now, "again")
    assert journal.verify().entries == 1


def test_a_change_learns_that_its_lock_was_broken(journal, entry):
    now = entry().time
    with journal.lock("prod", whoami(), now) as mine:
        journal.break_lock("prod", Actor("bob", "admin2"), now, "it hangs")
        with pytest.raises(FleetLockedError, match="was broken while this change ran; it is free now"):
            mine.check()
        with journal.lock("prod", Actor("bob", "admin2"), now) as others:
            with pytest.raises(FleetLockedError, match="it is held by bob on admin2"):
                mine.check()
            mine.release()
            others.check()


def test_a_process_is_known_again_by_more_than_its_pid():
    this = Process.this()
    assert this.fate() is Fate.ALIVE
    boot, space, start = this.mark.split()
    assert Process(this.pid, f"{boot} {space} {int(start) + 1}").fate() is Fate.GONE
    assert Process(this.pid, f"another-boot {space} {start}").fate() is Fate.UNKNOWN
    assert Process(this.pid, "").fate() is Fate.UNKNOWN
