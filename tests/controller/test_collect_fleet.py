"""Real sshd, real failures: what each kind of host becomes, and the run as a whole."""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit import border
from hostaudit.collect import CollectOptions, collect
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.lab

QUICK = CollectOptions(interval=0, connect_timeout=2, run_timeout=3)
LARGE = "document['unread'] = [{'surface': 'x', 'reason': os.urandom(20000).hex()}]"
Fleet = Any  # the fixture's class stands in conftest.py, which is no module to import from


@pytest.mark.parametrize("user", ["plain", "noisy"])
def test_a_host_answers_whatever_its_shell_prints_around(fleet: Fleet, agent: bytes, user: str) -> None:
    result = fleet.collected(fleet.host(user), agent)
    assert result.snapshot.privileged is False
    assert result.snapshot.platform is not None
    assert result.snapshot.platform.hostname == "--interval 0 --budget wall=2.4,cpu=10,answer=8", (
        "0.8 of the run timeout"
    )


def test_many_hosts_keep_their_order_and_progress_is_told(fleet: Fleet, agent: bytes) -> None:
    hosts = [fleet.host("nologin" if n % 7 == 0 else "plain", n) for n in range(1, 41)]
    seen: list[str] = []
    patient = replace(QUICK, connect_timeout=60, run_timeout=60)
    results = collect(hosts, agent, patient, lambda r: seen.append(r.host.name))
    assert [r.host.name for r in results] == [h.name for h in hosts]
    assert sorted(seen) == sorted(h.name for h in hosts)
    assert [isinstance(r, Unreachable) for r in results] == [n % 7 == 0 for n in range(1, 41)]


@pytest.mark.parametrize(
    ("user", "kind", "says"),
    [
        ("garbage", "output", "exit code 3 without an answer"),
        ("flood", "output", "without an answer: 'hello hello"),
        ("hang", "timeout", "its answer did not come within 3 s"),
        ("nopython", "python", "has no python3"),
        ("nologin", "output", "This account is currently not available."),
    ],
)
def test_hosts_that_do_not_answer(fleet: Fleet, agent: bytes, user: str, kind: str, says: str) -> None:
    result = fleet.unreachable(fleet.host(user), agent)
    assert (result.kind, says in result.reason) == (kind, True), result.reason
    assert result.seconds < 5


def test_an_answer_that_stops_in_the_middle(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    result = fleet.unreachable(fleet.host("cut"), fake_agent(LARGE))
    assert (result.kind, "stopped in the middle" in result.reason) == ("timeout", True)


def test_an_answer_that_is_no_snapshot(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    wrong = fleet.unreachable(fleet.host("plain"), fake_agent("document['taken'] = 'now'"))
    assert (wrong.kind, "$.taken" in wrong.reason) == ("output", True)
    broken = fleet.unreachable(fleet.host("plain"), fake_agent("raise OSError('no /proc here')"))
    assert (broken.kind, "no /proc here" in broken.reason) == ("agent", True)


def test_an_old_python_says_so_and_a_newer_one_beside_it_is_found(fleet: Fleet, agent: bytes) -> None:
    if not fleet.old_python:
        pytest.skip("needs a Python older than 3.9 that pyenv installed")
    result = fleet.unreachable(fleet.host("oldpython"), agent)
    assert (result.kind, "older than 3.9 (3." in result.reason) == ("python", True)
    assert fleet.collected(fleet.host("newbeside"), agent).snapshot.privileged


def test_an_interrupt_ends_everything_at_once(fleet: Fleet, agent: bytes) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            collect([fleet.host("hang", n) for n in range(1, 4)], agent, CollectOptions(interval=0))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 1.5


def test_what_cannot_be_ended_is_left_behind_and_the_others_go_on(
    fleet: Fleet, agent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name resolution in the C library listens to nobody."""
    resolve, over = socket.getaddrinfo, threading.Event()

    def stuck(host: str, *rest: Any) -> Any:
        if host == "stuck.example":
            over.wait(20)
        return resolve("127.77.0.1" if host == "stuck.example" else host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    monkeypatch.setattr("hostaudit.collect.GRACE", 0.3)
    hosts = [fleet.host("plain", 1, ansible_host="stuck.example"), *(fleet.host("plain", n) for n in (2, 3))]
    late, *others = collect(hosts, agent, CollectOptions(interval=0, forks=1, connect_timeout=1))
    over.set()
    assert isinstance(late, Unreachable)
    assert (late.kind, "was not resolved within 1 s" in late.reason) == ("timeout", True)
    assert [type(r) for r in others] == [Collected, Collected]


def test_a_bug_costs_one_host_its_answer(fleet: Fleet, agent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_body: bytes, _where: str) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(border, "snapshot", broken)
    result = fleet.unreachable(fleet.host("plain"), agent)
    assert (result.kind, "ZeroDivisionError: oops" in result.reason) == ("agent", True)


def test_hosts_that_hang_take_no_place_of_those_that_answer(fleet: Fleet, agent: bytes) -> None:
    """Twelve hosts that accept and say nothing are first in line for four forks: three deadlines, were they to wait."""
    with socket.create_server(("127.77.0.1", 0), backlog=32) as silent:
        port = silent.getsockname()[1]
        mute = [fleet.host("mute", n, ansible_host="127.77.0.1", ansible_port=port) for n in range(1, 13)]
        live = [fleet.host("plain", n) for n in range(1, 21)]
        options = CollectOptions(interval=0, forks=4, connect_timeout=60, run_timeout=60)
        began = time.monotonic()
        alone = collect(live, agent, options)
        # so long that whoever does not wait for them is done before, however busy this machine is
        patient = replace(options, connect_timeout=max(3.0, 4 * (time.monotonic() - began)))
        told: list[Collected | Unreachable] = []
        began = time.monotonic()
        results = collect([*mute, *live], agent, patient, told.append)
        whole = time.monotonic() - began
    assert [type(r) for r in alone] == [Collected] * 20
    assert [type(r) for r in results] == [Unreachable] * 12 + [Collected] * 20
    assert {r.kind for r in results[:12] if isinstance(r, Unreachable)} == {"timeout"}
    assert [type(r) for r in told] == [Collected] * 20 + [Unreachable] * 12
    assert whole < 2 * patient.connect_timeout, "they had their deadline side by side"


def test_settings_that_are_not_followed_are_told_once(fleet: Fleet, agent: bytes) -> None:
    said: list[str] = []
    args = f"-F {fleet.directory}/config -o Ciphers=aes128-ctr"
    hosts = [fleet.host("plain", n, ansible_ssh_common_args=args) for n in (1, 2, 3)]
    collect(hosts, agent, QUICK, None, said.append)
    assert said == ["ssh argument -o Ciphers=aes128-ctr is not followed by this program"]


def test_nothing_is_left_behind(fleet: Fleet, agent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    before, files = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    collect([fleet.host(u) for u in ("plain", "garbage", "nologin", "hang")], agent, QUICK)
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.05)
    assert set(threading.enumerate()) - before == set()
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    assert capfd.readouterr() == ("", "")
