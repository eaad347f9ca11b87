"""A role that outlasts the time for the confirmation leaves nothing: its controller lives, dies, or is cut off.

Ansible's own processes write here, late; nothing else stands for them.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts
from labkit.settings import LAB

from roles.guarding import CONF, NEW, TOUCHES, VALUE, events, furnish, guard, left, look, settle, until, until_quiet
from roles.play import BOOKS, command

pytestmark = pytest.mark.usefixtures("two")
BOOK = f"""
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {{name: {BOOKS}/roles/guard}}
    - ansible.builtin.command:
        argv: [sh, -c, "echo 5000 >$0; sleep 8; echo 6000 >$0; echo late >{CONF}; sleep 8; echo 7000 >$0", {VALUE}]
    - ansible.builtin.command:
        argv: [sh, -c, "echo 8000 >{VALUE}; mkdir -p {NEW.rpartition("/")[0]}; echo later >{NEW}"]
    - ansible.builtin.meta: reset_connection
    - ansible.builtin.include_role: {{name: {BOOKS}/roles/guard, tasks_from: confirm}}
"""
CUT = (
    "add table ip cut; add chain ip cut i { type filter hook input priority 0; }; "
    "add chain ip cut o { type filter hook output priority 0; }; "
    "add rule ip cut i tcp dport 22 drop; add rule ip cut o tcp sport 22 drop"
)


@pytest.fixture(scope="module")
def two() -> Iterator[None]:
    shutil.rmtree(LAB / "ansible", ignore_errors=True)  # connections to earlier hosts that had the same addresses
    with hosts.up({"b11": hosts.Spec("boot:bullseye"), "b13": hosts.Spec("boot:trixie")}) as names:
        furnish(names)
        yield


@pytest.fixture
def playing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Begin a change whose only task lasts 16 s, with 5 s for the confirmation."""
    name = str(request.param)
    settle(name)
    book = tmp_path / "book.yml"
    book.write_text(BOOK)
    variables = {
        "guard_change": request.node.name.partition("[")[0],
        "guard_timeout": 5,
        "guard_touches": list(TOUCHES),
    }
    line, environment = command(str(book), variables, "--limit", name)
    environment["ANSIBLE_SSH_ARGS"] = "-C -o ControlMaster=auto -o ControlPersist=5s"
    process = subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield name, process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """SIGKILL Ansible and its ssh, as when their machine dies."""
    for pid in hosts.descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if process.stdout and not process.stdout.closed:
        process.communicate()


def value_is(name: str, value: int) -> None:
    hosts.wait(lambda: hosts.run(name, "cat", VALUE).strip() == str(value), 60, f"{VALUE} of {name} is not {value}")


@pytest.mark.parametrize("playing", ["b13"], indirect=True)
def test_its_controller_dies(playing: tuple[str, subprocess.Popen[str]]) -> None:
    """The task goes on without it, and writes twice after the host has put everything back."""
    name, process = playing
    before = look(name)
    value_is(name, 5000)
    end(process)
    until(name, before)
    value_is(name, 6000)
    code, said = guard(name, "arm", "another", 60, *TOUCHES)
    assert (code, "what made it may still be writing" in said) == (2, True)
    until(name, before)
    value_is(name, 7000)
    until(name, before)
    until_quiet(name, "test_its_controller_dies")
    assert look(name) == before
    mine = [event for event, change in events(name) if change == "test_its_controller_dies"]
    assert mine == ["reverted", "reverted-again", "reverted-again"]
    assert guard(name, "arm", "another", 60, *TOUCHES)[0] == 0, "when it was quiet for long enough"
    assert guard(name, "revert", "another")[0] == 0
    assert left(name) == []


@pytest.mark.parametrize("playing", ["b13"], indirect=True)
def test_its_controller_is_cut_off_for_a_while(playing: tuple[str, subprocess.Popen[str]]) -> None:
    """It goes on when the way is there again, with a task that writes; its confirmation is refused."""
    name, process = playing
    before = look(name)
    value_is(name, 5000)
    hosts.run(name, "nft", CUT)
    until(name, before)
    value_is(name, 6000)
    hosts.run(name, "nft", "delete table ip cut")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "was reverted before it was confirmed" in said
    assert look(name) == before
    assert left(name) == []


@pytest.mark.long
@pytest.mark.parametrize("playing", ["b11"], indirect=True)
def test_its_controller_is_only_slow(playing: tuple[str, subprocess.Popen[str]]) -> None:
    """And dies before it can ask: what its last task wrote does not stay."""
    name, process = playing
    before = look(name)
    value_is(name, 8000)
    end(process)
    until(name, before)
    began = time.monotonic()
    until_quiet(name, "test_its_controller_is_only_slow")
    assert time.monotonic() - began > 20, "it is watched for a while"
    assert look(name) == before
    assert guard(name, "revert", "test_its_controller_is_only_slow")[0] == 0
    assert left(name) == []
