"""Files of the node, below a root that tests and captured trees can move."""

from __future__ import annotations

import errno
import os

from hostaudit_agent import budget

PAGE, CHUNK = 1 << 12, 1 << 20
LARGEST = 16 << 20
"""Bytes; nothing that is read here is nearly as large, so a larger file is not what its name says."""


class Root:
    """Reads below ``top``. Every pseudo-file is read whole, without asking for its size first.

    Absence is answered with ``None``; any other failure is the ``OSError`` itself, which the collectors turn into an
    ``Unread`` entry.
    """

    def __init__(self, top: str = "/", netns: str = "") -> None:
        self.top = top.rstrip("/")
        self.netns = netns
        """The network namespace that was entered to read; empty: the one that the agent was started in."""

    @property
    def live(self) -> bool:
        """Tell whether these files are a running kernel's, so that netlink and system calls speak of the same.

        A captured tree has no namespace links; a host's root mounted into a container (``--root /host``) has.
        """
        return os.path.exists(self.path("proc/self/ns/net"))

    def path(self, name: str) -> str:
        """Return the real path of ``/name``."""
        return self.top + "/" + name.lstrip("/")

    def read_bytes(self, name: str) -> bytes | None:
        """Return the file's content, ``None`` where there is no such file.

        A pipe in its place does not block, and is empty. Raises OSError for anything else than absence.
        """
        budget.check()
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return _whole(fd)
        except OSError as e:  # read(2) does not say of what
            e.filename = e.filename or self.path(name)
            raise
        finally:
            os.close(fd)

    def read_text(self, name: str) -> str | None:
        """Return the file's content as text; bytes that are not UTF-8 become U+FFFD."""
        data = self.read_bytes(name)
        return None if data is None else data.decode("utf-8", "replace")

    def read_int(self, name: str) -> int | None:
        """Return the file's only number, ``None`` where there is no such file.

        Raises ValueError when the content is not a number.
        """
        text = self.read_text(name)
        return None if text is None else int(text)

    def names(self, directory: str) -> list[str]:
        """Return the sorted names in a directory; none where there is no such directory."""
        budget.check()
        try:
            return sorted(os.listdir(self.path(directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, name: str) -> bool:
        """Tell whether the name is there (a dangling link is)."""
        return os.path.lexists(self.path(name))


def _whole(fd: int) -> bytes:
    """Read until the end. Kernel files give a page at a time, so a short read is not the end.

    Most files are knobs of a few bytes: the buffer begins small, and its size is what costs.
    """
    data = os.read(fd, PAGE)
    parts, size, wanted = [data], len(data), PAGE
    while data:
        data = os.read(fd, wanted)
        parts.append(data)
        size += len(data)
        if size > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        wanted = min(CHUNK, 2 * wanted)
    return b"".join(parts)
