"""The other network namespaces of this host: found, entered with setns(2), read, and left again.

/proc/net and /proc/sys/net are those of the reading thread's namespace, and so is a netlink socket; /sys is not.
A namespace is held open from the moment it is found, so both samples are of the same one, and a container that ends
meanwhile keeps its namespace for those seconds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent import budget
from hostaudit_agent.reader import Reader, reason
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import SURFACES, Namespace, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = "/proc/self/ns/net"
NAMED = ("/run/netns", "/var/run/netns")
"""Where ip-netns(8) and container runtimes keep names of namespaces."""
CLONE_NEWNET = 0x40000000
MOST = 256
INSIDE = tuple(surface for surface in SURFACES if surface in Namespace.__dataclass_fields__)
"""What a namespace has of its own; the rest (processes, the kernel's log, files) is the whole machine's."""


class Found(NamedTuple):
    """A network namespace, by an open descriptor."""

    name: str
    fd: int
    reader: Reader


class Others:
    """Every other network namespace of the host, as one thing that is sampled and collected."""

    def __init__(self, root: Root, unread: list[Unread], *, census: bool) -> None:
        self._unread = unread
        self._own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._found: list[Found] = []
        for name, fd in self._open(candidates(unread)):
            reader = Reader(Root(root.top or "/", netns=name), INSIDE, unread, census=census)
            self._found.append(Found(name, fd, reader))

    def _open(self, paths: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
        own = os.fstat(self._own)
        seen, left = {own.st_ino}, 0
        for name, path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as e:
                if not path.startswith("/proc/"):  # a process may end; another one holds the namespace, or nobody
                    self._unread.append(Unread("namespaces", reason(e), name))
                continue
            status = os.fstat(fd)
            if status.st_dev != own.st_dev:
                os.close(fd)
                self._unread.append(Unread("namespaces", f"not a network namespace any more: {path}", name))
            elif status.st_ino in seen or len(seen) > MOST:
                os.close(fd)
                left += status.st_ino not in seen
                seen.add(status.st_ino)
            else:
                seen.add(status.st_ino)
                yield name, fd
        if left:
            self._unread.append(Unread("namespaces", f"{left} more were left out; the first {MOST} are read"))

    def sample(self) -> None:
        """Take the first sample of every namespace."""
        for found in self._found:
            if not self._enter(found):
                try:
                    found.reader.sample()
                finally:
                    setns(self._own)

    def collect(self) -> list[Namespace]:
        """Return the namespaces that could be entered, and close them all."""
        namespaces = []
        for found in self._found:
            failed = self._enter(found)
            if failed:
                self._unread.append(Unread("namespaces", failed, found.name))
            else:
                try:
                    namespaces.append(Namespace(found.name, **found.reader.collect()))
                finally:
                    setns(self._own)
            os.close(found.fd)
        os.close(self._own)
        return namespaces

    def _enter(self, found: Found) -> str:
        """Enter a namespace; return why that failed, or nothing."""
        try:
            budget.check()
            setns(found.fd)
        except OSError as e:
            return f"cannot be entered: {reason(e)}"
        except budget.BudgetError as e:
            return reason(e)
        return ""


def candidates(unread: list[Unread]) -> list[tuple[str, str]]:
    """Return name and path of whatever may be another namespace: first the named ones, then those of processes."""
    paths: dict[str, tuple[str, str]] = {}
    for directory in NAMED:
        real = os.path.realpath(directory)
        for name in Root().names(real):
            paths.setdefault(f"{real}/{name}", (f"netns {name}", f"{real}/{name}"))
    hidden = 0
    inodes: set[int] = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        path = f"/proc/{pid}/ns/net"
        try:
            inode = os.stat(path).st_ino
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # a kernel thread, or a process that ended
            continue
        if inode not in inodes:
            inodes.add(inode)
            paths[path] = (f"pid {pid} {_command(pid)}".rstrip(), path)
    if hidden:
        unread.append(Unread("namespaces", f"of {hidden} processes the namespace cannot be seen: needs CAP_SYS_PTRACE"))
    return list(paths.values())


def _command(pid: int) -> str:
    try:
        return (Root().read_text(f"proc/{pid}/comm") or "").strip()
    except OSError:
        return ""


def setns(fd: int) -> None:
    """Move this thread into a network namespace. os.setns came with Python 3.12."""
    import ctypes  # noqa: PLC0415 - only --all-netns needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
