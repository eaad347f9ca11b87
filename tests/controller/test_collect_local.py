from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from hostaudit.collect import CollectOptions, collect
from hostaudit.model import Collected, Host, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Host("here", (), {"ansible_connection": "local"})


@pytest.mark.parametrize(
    ("options", "wall", "cpu"),
    [
        (CollectOptions(), 24, 10),
        (CollectOptions(interval=300), 24, 10),
        (CollectOptions(interval=2, run_timeout=12), 8, 10),
        (CollectOptions(interval=0, run_timeout=1), 1, 10),
        (CollectOptions(interval=0, run_timeout=300), 240, 100),
    ],
)
def test_the_agents_time_ends_before_our_patience(options: CollectOptions, wall: int, cpu: int) -> None:
    words = options.arguments
    assert words[words.index("--budget") + 1] == f"wall={wall},cpu={cpu},answer=8"


def test_this_machine_is_read_without_ssh(fake_agent: Callable[[str], bytes]) -> None:
    options = CollectOptions(interval=0.5, all_netns=True, census=True)
    (result,) = collect([HERE], fake_agent(""), options)
    assert isinstance(result, Collected), result
    assert result.snapshot.platform is not None
    assert result.snapshot.platform.hostname == "--interval 0.5 --budget wall=24,cpu=10,answer=8 --all-netns --census"
    assert result.snapshot.privileged == (os.geteuid() == 0)


def test_a_local_agent_that_hangs_or_talks_too_much(fake_agent: Callable[[str], bytes]) -> None:
    began = time.monotonic()
    (slow,) = collect([HERE], fake_agent("import time; time.sleep(60)"), CollectOptions(run_timeout=1))
    assert isinstance(slow, Unreachable)
    assert slow.kind in {"timeout", "output"}
    assert time.monotonic() - began < 4
    (large,) = collect([HERE], fake_agent("document['python'] = 'x' * 5000"), CollectOptions(max_output=1000))
    assert isinstance(large, Unreachable)
    assert (large.kind, "more than the 1000" in large.reason) == ("output", True)


def test_hosts_whose_inventory_is_wrong_do_not_stop_the_others(fake_agent: Callable[[str], bytes]) -> None:
    wrong = Host("wrong", (), {"ansible_host": "{{ nowhere }}"})
    windows = Host("win", (), {"ansible_connection": "winrm"})
    first, second, third = collect([wrong, HERE, windows], fake_agent(""), CollectOptions(interval=0))
    assert isinstance(first, Unreachable)
    assert isinstance(second, Collected)
    assert isinstance(third, Unreachable)
    assert (first.kind, third.kind) == ("inventory", "inventory")


def test_no_hosts_are_no_results() -> None:
    assert collect([], b"", CollectOptions()) == []
