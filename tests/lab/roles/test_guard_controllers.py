"""Two controllers that know nothing of each other, and one whose role outlasts the time for the confirmation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts
from labkit.faults import SECONDS, Fleet, kill, truth, when
from labkit.plans import Done

from roles.guarding import TOUCHES, furnish, guard, left, look, settle

pytestmark = pytest.mark.long

SLOW = "/usr/local/bin/slow-python"


@pytest.fixture(scope="module")
def booted() -> Iterator[str]:
    with hosts.up({"b13": hosts.Spec("boot:trixie", groups=("web",))}) as names:
        furnish(names)
        yield names[0]


@pytest.fixture
def host(booted: str) -> Iterator[str]:
    yield booted
    settle(booted)


def slow(fleet: Fleet, host: str) -> None:
    """Let each task of a role take seconds."""
    hosts.script(host, f"printf '#!/bin/sh\\nsleep 5\\nexec python3 \"$@\"\\n' >{SLOW}; chmod 755 {SLOW}")
    fleet.source.write_text(fleet.source.read_text() + f"ansible_python_interpreter={SLOW}\n")


def test_of_many_that_arm_in_the_same_instant_one_does(host: str) -> None:
    before = look(host)
    touches = " ".join(f"'{touch}'" for touch in TOUCHES)
    lines = "".join(
        f"(c=0; sh /root/guard arm c{n} 600 {touches} >/root/said.{n} 2>&1 || c=$?; echo $c >/root/code.{n}) &\n"
        for n in range(8)
    )
    hosts.script(host, f"HOSTAUDIT_GUARD=$(cat /root/guard); export HOSTAUDIT_GUARD\n{lines}wait\n")
    codes = hosts.script(host, "cat /root/code.*").split()
    assert sorted(codes) == ["0", *["2"] * 7]
    winner = f"c{codes.index('0')}"
    said = hosts.script(host, "cat /root/said.*").splitlines()
    assert len(said) == 7
    for line in said:
        assert f"another change, {winner}, is armed on this host" in line
        assert "nothing was done" in line
    assert hosts.script(host, "ls /var/lib/hostaudit/guard").split() == [winner]
    assert guard(host, "revert", winner)[0] == 0
    assert look(host) == before
    assert left(host) == []


def test_two_applies_with_journals_of_their_own(host: str, tmp_path: Path) -> None:
    fleets = [Fleet([host], tmp_path / name) for name in ("one", "two")]
    for fleet in fleets:
        fleet.planned()
        slow(fleet, host)  # so that one surely arms while the other is armed
    try:
        processes = [fleet.start() for fleet in fleets]
        ended = []
        for process in processes:
            out, err = process.communicate(timeout=400)
            assert out, err
            ended.append(Done(process.returncode, json.loads(out), out, err))
        first, second = sorted(ended, key=lambda done: done.code)
        assert (first.code, first.states) == (0, {host: "confirmed"}), first.stderr
        assert (second.code, second.states) == (8, {host: "not touched"}), second.stderr
        detail = second.document["changes"][0]["hosts"][0]["detail"]
        assert f"another change, {first.change}, is armed on this host" in detail
        assert truth(host).whole == "confirmed"
        for fleet in fleets:
            assert fleet.resume().code == 0, "nothing is unfinished"
        assert truth(host).whole == "confirmed"
    finally:
        fleets[0].as_before()


def test_a_role_may_outlast_the_time_for_the_confirmation(host: str, tmp_path: Path) -> None:
    """Each task takes seconds here: the guard waits as long as its controller is there."""
    fleet = Fleet([host], tmp_path)
    fleet.planned()
    slow(fleet, host)
    began = hosts.script(host, "date +%s")
    process = fleet.start()
    try:
        assert when(fleet, process, lambda entries: ("step", "run", "begin") in entries)
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries)
        took = int(hosts.script(host, "date +%s")) - int(began)
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
        assert took > SECONDS, "without a heartbeat the host had gone back"
        assert truth(host).whole == "confirmed"
    finally:
        kill(process, everything=True)
        fleet.as_before()


def test_a_rollback_whose_controller_dies_can_be_done_again(host: str, tmp_path: Path) -> None:
    """Undone, not confirmed, and so in force again: the host still knows what was there before."""
    fleet = Fleet([host], tmp_path)
    fleet.planned()
    try:
        change = fleet.apply().change
        assert truth(host).whole == "confirmed"
        process = fleet.start(undo=change)
        seen = len(fleet.entries())
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries[seen:])
        kill(process, everything=True)
        assert truth(host).value == "4096", "it was undone"
        hosts.wait(lambda: truth(host).value == "5000", 120, "the undo was not confirmed, and stays all the same")
        assert fleet.resume().code in (0, 8)
        assert truth(host).whole == "confirmed"
        again = fleet.rollback(change)
        assert again.code == 0, again.stderr
        assert truth(host).whole == "as before"
    finally:
        fleet.as_before()
