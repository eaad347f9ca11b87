"""The kernel's log of the last hour: /dev/kmsg (Documentation/ABI/testing/dev-kmsg), read without waiting.

Each read(2) gives one record, ``priority,sequence,microseconds,flags;text``, from the oldest that is left. Only lines
of the kernel itself count (facility 0): any program of root's may write others. The clock of the stamps is never set;
it keeps pace with CLOCK_MONOTONIC_RAW, from which the time of day is told.

The log is the whole machine's. So it is read in the kernel's first network namespace only: a container would be blamed
for its neighbours.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.budget import check
from hostaudit_agent.collectors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import KernelLog

PATH = "dev/kmsg"
DEVICE = (1, 11)
LOOK_BACK = 3600.0
"""Seconds"""
MOST = 100_000
"""Records; a log of 8 MiB has as many."""
RECORD = 8192
"""CONSOLE_EXT_LOG_MAX: no record is longer."""
INTERESTING = re.compile(
    rb"table full|able overflow!|bad checksum|Killed process|oom-kill:|martian |: invalid |Possible SYN flooding"
    rb"|NETDEV WATCHDOG|Reset adapter|Hardware Unit Hang|Link is Down|blocked for more than|callbacks suppressed"
)
"""Lines that ``kernellog`` looks at further; on most machines there are none, and it is not even imported."""
KERNEL = 8
"""The priority is facility * 8 + level; the kernel's facility is 0."""


class Record(NamedTuple):
    """One record as it was read."""

    priority: int
    sequence: int
    seconds: float
    """Since the machine started."""
    text: bytes


def sample(root: Root) -> int | None:
    """Return a descriptor that stands at the end of the log; ``None`` where there is none to read. Raises OSError."""
    fd = _open(root)
    if fd is not None:
        os.lseek(fd, 0, os.SEEK_END)
    return fd


def collect(root: Root, before: int | None, unread: Callable[[str, str], None]) -> KernelLog:
    """Return what was logged in the last hour; ``before`` is the descriptor of ``sample``, which is closed."""
    from hostaudit_agent.snapshot import KernelLog  # noqa: PLC0415 - the installed agent samples, and does without the schema

    new = _since(before) if before is not None else None
    fd = _open(root)
    if fd is None:
        return KernelLog(own=False)
    try:
        return _read(fd, new, unread)
    finally:
        os.close(fd)


def _open(root: Root) -> int | None:
    if not root.live:
        raise UnreadableError("the kernel's log is read live; a captured tree has none")
    if not root.exists("proc/sys/net/core/netdev_budget"):  # shown in the first network namespace only
        return None
    try:
        fd = os.open(root.path(PATH), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise UnreadableError("needs CAP_SYSLOG (kernel.dmesg_restrict is 1), or root") from None
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or (os.major(status.st_rdev), os.minor(status.st_rdev)) != DEVICE:
        os.close(fd)
        return None
    return fd


def _since(fd: int) -> int | None:
    """Return the sequence number of the first record after ``sample``; ``None``: nothing was logged since."""
    try:
        return next((record.sequence for record in records(fd)), None)
    finally:
        os.close(fd)


def _read(fd: int, new: int | None, unread: Callable[[str, str], None]) -> KernelLog:
    from hostaudit_agent.snapshot import KernelLog  # noqa: PLC0415 - as above

    clock, wall = time.clock_gettime(time.CLOCK_MONOTONIC_RAW), time.time()
    found = KernelLog(own=True, seconds=min(LOOK_BACK, clock))
    wanted: list[Record] = []
    count = 0
    for record in records(fd):
        count += 1
        if count == 1 and record.sequence:  # earlier ones have been overwritten
            found.seconds = min(found.seconds, clock - record.seconds)
        if count > MOST:
            unread("", f"only the first {MOST} records of the kernel's log were read")
            break
        if clock - record.seconds > LOOK_BACK or record.priority >= KERNEL:
            continue
        found.lines += 1
        if INTERESTING.search(record.text):
            wanted.append(record)
    found.seconds = round(max(0.0, found.seconds), 1)
    if wanted:
        from hostaudit_agent.kernellog import Line, Tally  # noqa: PLC0415 - its patterns take milliseconds to compile

        tally = Tally()
        for record in wanted:
            when = round(wall - (clock - record.seconds), 1)
            text = record.text.decode("utf-8", "replace")
            tally.add(Line(when, text, new is not None and record.sequence >= new))
        found.suppressed, found.events = tally.suppressed, tally.events()
    return found


def records(fd: int) -> Iterator[Record]:
    """Yield the records from where the descriptor stands to the end of the log."""
    while True:
        check()
        try:
            raw = os.read(fd, RECORD)
        except OSError as error:
            if error.errno == errno.EPIPE:  # overwritten while it was read; the next read is of the oldest left
                continue
            if error.errno == errno.EAGAIN:
                return
            raise
        record = parse(raw)
        if record:
            yield record


def parse(raw: bytes) -> Record | None:
    """Parse a record; ``None`` where it is none. Lines that begin with a blank are its properties."""
    head, separator, rest = raw.partition(b";")
    fields = head.split(b",", 3)
    if not separator or len(fields) < 3:
        return None
    try:
        priority, sequence, stamp = int(fields[0]), int(fields[1]), int(fields[2])
    except ValueError:
        return None
    return Record(priority, sequence, stamp / 1e6, rest.partition(b"\n")[0])
