"""File descriptors: of a process that really has them, and on kernels that do not give their number away."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent.collectors import UnreadableError, processes
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hostaudit_agent.snapshot import OpenFiles, Processes

OPENS = """
import os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
while True:
    try:
        os.open("/dev/null", os.O_RDONLY)
    except OSError:
        break
print(flush=True)
time.sleep(60)
"""


def nothing(part: str, why: str) -> None:
    raise AssertionError(f"{part}: {why}")


@pytest.fixture
def full() -> Iterator[int]:
    """Yield the PID of a process that has no descriptor left, of 300."""
    with subprocess.Popen([sys.executable, "-c", OPENS], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


def of(found: Processes, pid: int) -> OpenFiles:
    return next(one for one in found.nearest if one.process.pid == pid)


def test_a_process_at_its_limit_comes_first(full: int) -> None:
    found = processes.collect(Root(), processes.sample(Root()), lambda *_: None)
    one = of(found, full)
    assert (one.open, one.limit, one.before) == (300, 300, 300)
    assert one.process.name.startswith("python")
    shares = [near.open / near.limit for near in found.nearest]
    assert shares == sorted(shares, reverse=True)
    assert found.seen > 1
    assert 0 < found.files <= found.files_max


def test_kernels_before_6_2_are_read_by_listing(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_is_sized", lambda _root: False)
    assert of(processes.collect(Root(), None, lambda *_: None), full).open == 300


def test_what_may_not_be_listed_is_said() -> None:
    """As an ordinary user of an older kernel, who sees the slots of another's process and not its descriptors."""
    if os.geteuid() != 0:
        pytest.skip("needs root: becomes a user without rights")
    done = subprocess.run([sys.executable, "-c", UNPRIVILEGED], check=True, capture_output=True, text=True)
    assert "the open files cannot be counted: needs CAP_SYS_PTRACE" in done.stdout


UNPRIVILEGED = """
import os
from hostaudit_agent.collectors import processes
from hostaudit_agent.root import Root
processes._is_sized, processes.SLOTS = lambda root: False, 0
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
processes.collect(Root(), None, lambda part, why: print(why))
"""


def test_a_captured_tree(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/fs").mkdir(parents=True)
    with pytest.raises(UnreadableError, match="file-nr"):
        processes.collect(Root(str(tmp_path)), None, nothing)
    (tmp_path / "proc/sys/fs/file-nr").write_text("1600\t0\t100000\n")
    (tmp_path / "proc/7/fd").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text("Name:\tx\nFDSize:\t256\n")
    (tmp_path / "proc/7/comm").write_text("x\n")
    (tmp_path / "proc/7/limits").write_text(
        "Max open files            64                   4096                 files\n"
    )
    for number in range(60):
        (tmp_path / f"proc/7/fd/{number}").touch()
    found = processes.collect(Root(str(tmp_path)), None, nothing)
    assert (found.files, found.files_max, found.seen) == (1600, 100000, 1)
    assert [(one.process.name, one.open, one.limit) for one in found.nearest] == [("x", 60, 64)]
