"""Which process holds a socket: /proc/PID/fd, looked through once for all sockets that matter.

A link per descriptor has to be read, so this is done only where something is wrong already, and is bounded. Only
processes of the calling thread's network namespace are looked at: a socket belongs to the namespace in which it was
made, and nearly always its process is still there.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from hostaudit_agent.budget import check
from hostaudit_agent.snapshot import Process

if TYPE_CHECKING:
    from collections.abc import Container

    from hostaudit_agent.root import Root

MOST_LINKS = 400_000
"""Descriptors that are looked at: about half a second of CPU."""
_NOISE = re.compile(r"^(init|session|app|user)[-.@].*|.*\.slice$")


class Holders:
    """The processes that hold sockets of interest."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}
        """Inode -> PID, of several holders the lowest."""
        self.sockets: dict[int, int] = {}
        """PID -> TCP sockets that it holds in this network namespace."""
        self.hidden = 0
        """Processes that could not be looked into."""
        self.truncated = False


def find(root: Root, wanted: Container[int], tcp: Container[int]) -> Holders:
    """Look for the holders of the ``wanted`` inodes, and count what each of them holds among ``tcp``."""
    found = Holders()
    space = _space(root, "thread-self")
    left = MOST_LINKS
    for pid in pids(root):
        check()
        try:
            if _space(root, str(pid)) != space:
                continue
            mine, looked_at = _inodes(root.path(f"proc/{pid}/fd"), left)
        except PermissionError:
            found.hidden += 1
            continue
        except OSError:  # it ended
            continue
        left -= looked_at
        hits = [inode for inode in mine if inode in wanted]
        if hits:
            found.sockets[pid] = sum(inode in tcp for inode in mine)
            for inode in hits:
                found.of.setdefault(inode, pid)
        if left <= 0:
            found.truncated = True
            break
    return found


def _inodes(directory: str, most: int) -> tuple[list[int], int]:
    """Return the inodes of the sockets among a process's descriptors, and how many were looked at. Raises OSError."""
    inodes = []
    readlink = os.readlink
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # shortens the way to each link
    try:
        names = os.listdir(fd)[:most]
        for name in names:
            try:
                target = readlink(name, dir_fd=fd)
            except OSError:  # closed meanwhile
                continue
            if target[:8] == "socket:[":
                inodes.append(int(target[8:-1]))
    finally:
        os.close(fd)
    return inodes, len(names)


def _space(root: Root, process: str) -> str:
    return os.readlink(root.path(f"proc/{process}/ns/net"))


def pids(root: Root) -> list[int]:
    """Return the processes' numbers in order."""
    return sorted(int(name) for name in root.names("proc") if name.isdecimal())


def process(root: Root, pid: int) -> Process:
    """Return what the process is called; empty words where it ended meanwhile."""
    try:
        name = (root.read_text(f"proc/{pid}/comm") or "").rstrip("\n")
        groups = root.read_text(f"proc/{pid}/cgroup") or ""
    except OSError:
        return Process(pid)
    return Process(pid, name, unit(groups))


def unit(groups: str) -> str:
    """Return the unit or container of /proc/PID/cgroup: the last part of its path that is no slice or session.

    ``0::/system.slice/nginx.service`` is ``nginx.service``; in version 1 the line of systemd's own hierarchy counts.
    """
    lines = [line.split(":", 2) for line in groups.splitlines() if line.count(":") >= 2]
    paths = [path for number, names, path in lines if number == "0" or names == "name=systemd"]
    parts = [part for part in (paths[0] if paths else "").split("/") if part and not _NOISE.match(part)]
    return parts[-1] if parts else ""
