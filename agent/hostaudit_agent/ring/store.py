"""The ring on disk: numbered segments of JSON lines, and the totals that the next tick compares with.

    00000001.jsonl ...   a line per tick; the oldest segment goes when the ring is full, or too old
    last.json            totals of the last tick; replaced as a whole (rename)

Nothing is synced: a power cut costs the last half minute or so (vm.dirty_expire_centisecs), and a disk that sleeps is
not woken every minute by us. A line that was cut off is passed over by readers, and the next one begins on a line of
its own. A tick that finds the disk full appends nothing and keeps the totals of the one before, so that what moved in
between is in the next line that fits.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

DIRECTORY = "var/lib/hostaudit/ring"
LAST = "last.json"
NEW = LAST + ".new"
SUFFIX = ".jsonl"
SEGMENTS = 16
"""The ring is cut into so many: as much of it is lost at once when it is full."""
LONGEST = 4096
"""Bytes of a line; one that would be longer leaves out what it has in lists."""
TAIL = 2 * LONGEST
LISTS = ("n", "r", "k", "v")


class Busy(Exception):  # noqa: N818 - it is no error
    """Another tick has the ring."""


class Store:
    """The ring in a directory, for one process at a time. Raises OSError, ``Busy``."""

    def __init__(self, directory: str, limit: int, seconds: float) -> None:
        """Take the limit of all segments together in bytes, and how old one may become."""
        self.directory, self.limit, self.seconds = directory, limit, seconds
        self._fd = -1

    def __enter__(self) -> Self:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Busy from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def path(self, name: str) -> str:
        """Return the path of a file of the ring."""
        return os.path.join(self.directory, name)

    def segments(self) -> list[tuple[str, int, float]]:
        """Return name, bytes and time of the last write of each segment, oldest first."""
        found = []
        for name in sorted(os.listdir(self.directory)):
            if is_segment(name):
                status = os.stat(self.path(name))
                found.append((name, status.st_size, status.st_mtime))
        return found

    def size(self) -> int:
        """Return the bytes of all segments."""
        return sum(size for _, size, _ in self.segments())

    def last(self) -> dict[str, Any]:
        """Return the totals of the last tick; empty where there are none, or none that can be compared with.

        A tick that died between its line and its totals would be counted twice: then there is nothing to compare with.
        """
        try:
            with open(self.path(LAST), "rb") as file:
                state = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return {}
        found = self.segments()
        if not isinstance(state, dict) or (found and state.get("i") != _number_of_last(self.path(found[-1][0]))):
            return {}
        return state

    def append(self, record: dict[str, Any], state: dict[str, Any]) -> None:
        """Append a line and replace the totals; both or, where an OSError is raised, neither."""
        number = time.time_ns()
        record, state = {**record, "i": number}, {**state, "i": number}
        line = _line(record)
        new = self.path(NEW)
        try:
            _write(new, json.dumps(state, separators=(",", ":")).encode(), os.O_TRUNC)
            self._prune(len(line))
            _write(self._current(len(line)), line, os.O_APPEND)
            os.replace(new, self.path(LAST))
        except OSError:
            if os.path.exists(new):
                os.unlink(new)
            raise

    def _current(self, length: int) -> str:
        found = self.segments()
        if not found:
            return self.path(f"{1:08d}{SUFFIX}")
        name, size, _ = found[-1]
        if size and size + length > self.limit // SEGMENTS:
            name = f"{int(name[: -len(SUFFIX)]) + 1:08d}{SUFFIX}"
        return self.path(name)

    def _prune(self, length: int) -> None:
        """Remove the oldest segments until ``length`` more bytes fit, and those that are too old."""
        found = self.segments()
        total, now = sum(size for _, size, _ in found), time.time()
        for name, size, written in found[:-1] if len(found) > 1 else found:
            if total + length > self.limit or now - written > self.seconds:
                os.unlink(self.path(name))
                total -= size


def is_segment(name: str) -> bool:
    """Tell whether a file of the directory is a segment."""
    return name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit()


def _line(record: dict[str, Any]) -> bytes:
    data = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    if len(data) > LONGEST:
        short = {key: value for key, value in record.items() if key not in LISTS}
        data = json.dumps({**short, "x": 1}, separators=(",", ":")).encode() + b"\n"
    return data


def _write(path: str, data: bytes, how: int) -> None:
    """Write all of it, or nothing: what was there stays as long as it was. Appends begin a line."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            written = os.write(fd, data)
        except OSError as e:
            e.filename = path  # write(2) does not say of what
            raise
        if written != len(data):  # there was room for a part of it
            os.ftruncate(fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(fd)


def _number_of_last(path: str) -> int | None:
    """Return the number of the last whole line; ``None`` where there is none."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            return record.get("i")
    return None
