"""Who holds /run/xtables.lock, and who waits for it.

iptables locks that file with flock(2), so /proc/locks names the holder, and behind ``->`` those that wait
(lock_get_status in fs/locks.c). iptables-nft does not use it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.snapshot import XtablesLock

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

PATH = "/run/xtables.lock"
MOST = 16


class Users(NamedTuple):
    """Processes at one moment; process ids as this PID namespace has them."""

    holders: tuple[int, ...]
    waiting: tuple[int, ...]


def look(root: Root) -> Users | None:
    """Return who uses the lock now; ``None`` where there is no such file. OSError where it cannot be told."""
    try:
        inode = os.stat(root.path(PATH)).st_ino
    except FileNotFoundError:
        return None
    return parse(root.read_text("/proc/locks") or "", inode)


def parse(text: str, inode: int) -> Users:
    """Read /proc/locks: ``7: FLOCK  ADVISORY  WRITE 812 00:1a:4711 0 EOF``, with ``->`` before FLOCK for who waits.

    The device is not compared: below an overlay, stat(2) and this file differ in it.
    """
    holders: list[int] = []
    waiting: list[int] = []
    for line in text.splitlines():
        words = line.split()
        behind = words[1:2] == ["->"]
        rest = words[2:] if behind else words[1:]
        if len(rest) >= 5 and rest[0] == "FLOCK" and rest[4].rpartition(":")[2] == str(inode) and rest[3].isdigit():
            (waiting if behind else holders).append(int(rest[3]))
    return Users(tuple(holders), tuple(waiting[:MOST]))


def report(root: Root, now: Users, before: Users | None) -> XtablesLock:
    """Return what the samples say together."""
    earlier = before or Users((), ())
    return XtablesLock(
        holder=_named(root, now.holders[0]) if now.holders else "",
        waiting=[_named(root, pid) for pid in now.waiting],
        held_throughout=bool(set(now.holders) & set(earlier.holders)),
        waited_throughout=[_named(root, pid) for pid in now.waiting if pid in earlier.waiting],
    )


def _named(root: Root, pid: int) -> str:
    try:
        return f"{pid} {(root.read_text(f'/proc/{pid}/comm') or '').strip()}".rstrip()
    except OSError:  # it ended
        return str(pid)
