"""Forty hosts in one run: five are broken in five ways, four more are in a bad state and must be read all the same."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit
from labkit.fleet import BAD_STATE, BROKEN, PLAIN, forty

LIMIT = 60
"""Seconds for the whole run: each host has 20 at most, twenty are read at a time, and most take one."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Path]:
    """Inventory of the forty."""
    with forty() as source:
        yield source


@pytest.fixture(scope="module")
def result(fleet: Path) -> Audit:
    return run_hostaudit(fleet, "--timeout", "5", "--run-timeout", "15", limit=LIMIT)


def test_every_host_is_accounted_for(result: Audit) -> None:
    assert sorted(h["name"] for h in result.document["hosts"]) == sorted((*PLAIN, *BAD_STATE, *BROKEN))


def test_thirty_five_answer(result: Audit) -> None:
    assert sorted(result.hosts("ok") | result.hosts("partial")) == sorted((*PLAIN, *BAD_STATE))


@pytest.mark.parametrize("name", [*PLAIN[:3], *BAD_STATE])
def test_a_bad_state_does_not_make_the_reading_partial(result: Audit, name: str) -> None:
    assert result.hosts("partial").get(name, "") == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dead", ("no route", "timed out", "unreachable", "no answer")),
        ("garbage", ("JSON", "output", "answer", "bytes")),
        ("hang", ("within", "timed out", "seconds", " s")),
        ("nopython", ("python",)),
        ("stranger", ("host key",)),
    ],
)
def test_the_reason_is_clear(result: Audit, name: str, words: tuple[str, ...]) -> None:
    reason = result.hosts("unreachable")[name]
    assert any(w.lower() in reason.lower() for w in words), reason
    assert len(reason) < 400
    assert reason.isprintable(), "what a host says is not shown to a terminal as it is"


def test_the_five_reasons_are_five(result: Audit) -> None:
    assert len(set(result.hosts("unreachable").values())) == len(BROKEN)


def test_the_exit_code_says_that_hosts_are_missing(result: Audit) -> None:
    assert result.code & 4


def test_it_is_bounded(result: Audit) -> None:
    assert result.seconds < LIMIT


def test_nothing_is_active_on_healthy_hosts(result: Audit) -> None:
    assert result.failures(grade="active") == []


def test_nothing_is_left_on_the_hosts(result: Audit) -> None:
    """The agent came through standard input: no file of its own stays, no process either."""
    assert result.hosts("ok")
    for name in ("web01", "web02", "web03", "noisy"):
        files = hosts.script(
            name, "find / /run /dev/shm -xdev -newer /etc/ssh/lab_sshd_config -type f | grep -i hostaudit || :"
        )
        processes = hosts.script(name, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert files == ""
        assert "python" not in processes


def test_a_second_run_says_the_same(result: Audit, fleet: Path) -> None:
    """Order and words are deterministic: two reports diff cleanly."""
    again = run_hostaudit(fleet, "--limit", "web:!hang", limit=LIMIT)

    def stable(audit: Audit) -> str:
        seen = [(h["name"], h["status"]) for h in audit.document["hosts"]]
        found = [
            (f["check"], f.get("host") or f.get("hosts"), f["status"], f["severity"])
            for f in audit.document["findings"]
        ]
        return json.dumps([seen, found], indent=1)

    first = stable(result).splitlines()
    assert [line for line in stable(again).splitlines() if line not in first] == []


@pytest.mark.usefixtures("result")
def test_nothing_of_ours_stays_on_a_host_whose_interpreter_hangs(fleet: Path) -> None:
    source = fleet.with_name("hang.ini")
    lines = fleet.read_text().splitlines()
    source.write_text("\n".join(line for line in lines if line.startswith(("hang ", "[all:vars]", "ansible_"))) + "\n")
    run_hostaudit(source, "--interval", "0", "--run-timeout", "1")
    deadline = time.monotonic() + 30
    while "sleep 1000" in (left := hosts.run("hang", "ps", "-eo", "args")) and time.monotonic() < deadline:
        time.sleep(0.5)
    # those of the first run, which had fifteen seconds and the interval, are over by then too
    assert "sleep 1000" not in left, left
    assert "hostaudit" not in left
