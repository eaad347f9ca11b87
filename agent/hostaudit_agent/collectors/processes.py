"""File descriptors: of the whole kernel (fs.file-nr), and of the processes nearest to their limits (RLIMIT_NOFILE).

Since Linux 6.2 the size of /proc/PID/fd is the number of descriptors (fs/proc/fd.c, proc_fd_getattr), which anybody may
ask. On older kernels FDSize of /proc/PID/status, the slots of the table, bounds it from above: only where that is
``MANY`` or more is the directory listed, which needs the right to look into the process.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Dict

from hostaudit_agent import holders
from hostaudit_agent.budget import check
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import OpenFiles, Processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

FILE_NR = "/proc/sys/fs/file-nr"
MANY = 32
"""Descriptors from which on a process is looked at more closely: only limits that small would be missed below."""
SLOTS = 256
"""On older kernels: the least FDSize of a process whose descriptors are counted."""
MOST = 20_000
"""Processes that are looked at."""
NEAREST = 8
_FDSIZE = re.compile(r"^FDSize:\s*(\d+)", re.MULTILINE)
_LIMIT = re.compile(r"^Max open files\s+(\d+|unlimited)", re.MULTILINE)


def sample(root: Root) -> dict[int, int]:
    """Return PID -> open descriptors, of processes that have many."""
    return _count(root)[0]


def collect(root: Root, before: dict[int, int] | None, unread: Callable[[str, str], None]) -> Processes:
    """Return the use of file descriptors, fullest first."""
    numbers = (root.read_text(FILE_NR) or "").split()
    if len(numbers) != 3:
        raise UnreadableError(f"{FILE_NR} has no three numbers: is /proc mounted?")
    found, seen, hidden = _count(root)
    processes = Processes(int(numbers[0]), int(numbers[2]), seen)
    if hidden:
        unread("descriptors", f"of {hidden} processes the open files cannot be counted: needs CAP_SYS_PTRACE")
    limits = {pid: limit for pid in found if (limit := _limit(root, pid))}
    nearest = sorted(limits, key=lambda pid: (-found[pid] / limits[pid], pid))[:NEAREST]
    processes.nearest = [
        OpenFiles(holders.process(root, pid), found[pid], limits[pid], before.get(pid) if before else None)
        for pid in nearest
    ]
    return processes


def _count(root: Root) -> tuple[dict[int, int], int, int]:
    """Return descriptors by PID where there are ``MANY``, and how many processes were seen and could not be."""
    sized = _is_sized(root)
    found: Dict[int, int] = {}
    seen = hidden = 0
    for pid in holders.pids(root)[:MOST]:
        check()
        try:
            number = os.stat(root.path(f"proc/{pid}/fd")).st_size if sized else _listed(root, pid)
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # it ended
            continue
        seen += 1
        if number >= MANY:
            found[pid] = number
    return found, seen, hidden


def _is_sized(root: Root) -> bool:
    """Tell whether this kernel gives the number as the directory's size: this process has descriptors itself."""
    try:
        return root.live and os.stat("/proc/self/fd").st_size > 0
    except OSError:
        return False


def _listed(root: Root, pid: int) -> int:
    match = _FDSIZE.search(root.read_text(f"proc/{pid}/status") or "")
    if not match or int(match[1]) < SLOTS:
        return 0
    return len(os.listdir(root.path(f"proc/{pid}/fd")))


def _limit(root: Root, pid: int) -> int:
    """Return the soft limit; 0 where the process ended, or has none."""
    try:
        match = _LIMIT.search(root.read_text(f"proc/{pid}/limits") or "")
    except OSError:
        return 0
    return int(match[1]) if match and match[1] != "unlimited" else 0
