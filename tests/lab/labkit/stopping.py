"""A controller that stops itself (SIGSTOP, all threads) at a point that was named before; its parent does the rest.

The product is not prepared for it. Its journal's transactions and its plays are watched from here, so that a step or a
task that is new is a point by itself. Points are named PHASE WHAT #N, the N-th time:

    before WHAT   a transaction of the journal is about to begin
    torn WHAT     its row is written, and not committed
    after WHAT    it is on the disk
    task NAME     Ansible told the end of a task on a host

    stopping.py WHERE ARGUMENTS-OF-HOSTAUDIT

WHERE is the number of a file descriptor, the name of a point, seconds to go on after it, and a file that keeps the
inventory, with tabs between them. All points are told there, a line each, and the process of the controller first: it
is a child, and what it leaves when it dies (Ansible, its ssh) stays below this process.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""


class Watch:
    """Tells each point, and stops at one of them."""

    def __init__(self, tell: int, point: str, delay: float) -> None:
        self.tell = tell
        self.point = point
        self.delay = delay
        self.seen: Counter[str] = Counter()
        self.what = ""
        """Of the transaction that is open."""

    def say(self, text: str) -> None:
        """Write one line; what is shorter than PIPE_BUF arrives whole."""
        os.write(self.tell, f"{text}\n".encode()[:4000])

    def mark(self, name: str) -> None:
        """Pass a point."""
        self.seen[name] += 1
        name = f"{name} #{self.seen[name]}"
        self.say(f"{time.monotonic():.3f}\t{name}")
        if name == self.point and self.delay:
            threading.Timer(self.delay, self.stop).start()
        elif name == self.point:
            self.stop()

    def stop(self) -> None:
        """Stop this process. When it is continued, it goes on as if nothing had been."""
        self.say("stopped\t")
        os.kill(os.getpid(), signal.SIGSTOP)


def attach(watch: Watch) -> None:
    """Put the watch around the journal's transactions and around Ansible's events."""
    from hostaudit.apply import runner
    from hostaudit.journal import engine, store

    writing, append, play = engine.Database.writing, store.Journal.append, runner.play

    @contextmanager
    def watched(self: engine.Database) -> Iterator[Any]:
        what = watch.what or "transaction"  # of a lock, or of the schema
        watch.mark(f"before {what}")
        with writing(self) as connection:
            yield connection
            watch.mark(f"torn {what}")
        watch.mark(f"after {what}")

    def named(self: store.Journal, entry: Any) -> Any:
        words = (entry.kind, entry.payload.get("step"), entry.payload.get("phase"))
        watch.what = " ".join(str(w) for w in words if w)
        try:
            return append(self, entry)
        finally:
            watch.what = ""

    def played(*arguments: Any, progress: Callable[[Any], object], **options: Any) -> Any:
        def told(event: Any) -> object:
            watch.mark(f"task {event.role}: {event.task}" if event.role else f"task {event.task}")
            return progress(event)

        return play(*arguments, progress=told, **options)

    engine.Database.writing = watched
    store.Journal.append = named
    runner.play = played


def remember(kept: Path) -> None:
    """Read the inventory once for all controllers of a journal: Ansible's two commands cost more than the rest."""
    from hostaudit import inventory

    read = inventory.read

    def once(*arguments: Any, **options: Any) -> Any:
        if not kept.exists():
            kept.write_bytes(pickle.dumps(read(*arguments, **options)))
        return pickle.loads(kept.read_bytes())  # noqa: S301 - written above

    inventory.read = once


def controller(where: str, arguments: list[str]) -> None:
    """Be hostaudit."""
    tell, point, delay, kept = where.split("\t")
    watch = Watch(int(tell), point, float(delay))
    watch.say(f"pid\t{os.getpid()}")
    attach(watch)
    remember(Path(kept))
    sys.argv = ["hostaudit", *arguments]
    from hostaudit.__main__ import main

    sys.exit(main())


def main() -> int:
    """Start the controller as a child, wait for its end, and end as it did."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if not child:
        controller(sys.argv[1], sys.argv[2:])
    os.close(int(sys.argv[1].partition("\t")[0]))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) % 256


if __name__ == "__main__":
    sys.exit(main())
