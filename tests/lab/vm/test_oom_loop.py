"""A unit that is killed for memory again and again, in a machine with a kernel and a log of its own: oom-kill-loop."""

from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import run_hostaudit, write_inventory

NAME = "vm12"
# more than the unit may have, and less than the machine has: the kernel refuses an obvious overcommit without a kill
KILL = "systemd-run -q --wait --collect -u hog -p MemoryMax=20M -p MemorySwapMax=0 python3 -c 'bytearray(10**8)' || :\n"


@pytest.fixture(scope="module")
def source(machines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert NAME in machines
    return write_inventory(tmp_path_factory.mktemp("oom") / "inventory.ini", [NAME])


def audited(source: Path) -> dict[str, Any]:
    patient = ("--timeout", "60", "--run-timeout", "120")
    audit = run_hostaudit(source, "--only", "oom-kill-loop", "--show", "pass", *patient, limit=400)
    assert audit.hosts("unreachable") == {}
    (found,) = audit.document["findings"]
    return dict(found)


def test_one_kill_is_no_loop(source: Path) -> None:
    hosts.script(NAME, KILL)
    found = audited(source)
    assert found["status"] == "pass", found
    assert found["evidence"]["kills"] == {"/system.slice/hog.service": 1}


def test_three_are_one_and_are_named_with_their_control_group(source: Path) -> None:
    hosts.script(NAME, KILL * 2)
    found = audited(source)
    assert (found["status"], found["grade"]) == ("fail", "active"), found
    assert "python3 was killed for memory 3 times (hog.service)" in found["summary"]
    assert found["evidence"]["control_group"] == "/system.slice/hog.service"


def test_it_is_not_active_any_more_when_the_kills_have_stopped(source: Path) -> None:
    """Twice the usual pause, a minute at least; until the hour is over it is told as a risk."""
    pause = float(audited(source)["evidence"]["every_seconds"])
    hosts.script(NAME, f"sleep {max(60.0, 2 * pause) + 10:.0f}")
    found = audited(source)
    assert (found["status"], found["grade"]) == ("fail", "risk"), found
