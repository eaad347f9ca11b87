"""Starts controllers that stop themselves at a point (see ``stopping.py``), and strikes there."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from labkit import hosts
from labkit.plans import command

PROGRAM = Path(__file__).with_name("stopping.py")
LONGEST = 400.0
"""Seconds that a controller may take on a busy machine."""


@dataclass(frozen=True)
class Point:
    """Where a controller stops: a mark that it passes, and a time after it."""

    name: str
    """As ``stopping.py`` names it."""
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} +{self.delay:.1f} s" if self.delay else self.name


@dataclass
class Controller:
    """One command of hostaudit, watched."""

    journal: Path
    arguments: Sequence[object]
    point: Point = Point("")
    pid: int = 0
    marks: list[tuple[float, str]] = field(default_factory=list)
    """Monotonic time and name of each point that it passed."""

    def __post_init__(self) -> None:
        line, environment = command(self.journal, *self.arguments)
        inner, outer = os.pipe()
        kept = self.journal.with_name("inventory.pickle")
        where = f"{outer}\t{self.point.name}\t{self.point.delay}\t{kept}"
        with self.journal.with_name("document").open("w") as document, self.journal.with_name("said").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), where, *line[1:]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=document,
                stderr=said,
                pass_fds=(outer,),
            )
        os.close(outer)
        self.told = os.fdopen(inner)
        self.late = threading.Timer(LONGEST, self.clear)
        self.late.daemon = True
        self.late.start()

    def until_stopped(self) -> bool:
        """Wait until it stops at its point, or ends; tell whether it stopped."""
        for line in self.told:
            key, _, value = line.rstrip("\n").partition("\t")
            if key == "pid":
                self.pid = int(value)
            elif key == "stopped":
                # it says so just before: a SIGCONT that came first would be lost
                hosts.wait(self.is_stopped, LONGEST, "the controller does not stop")
                return True
            else:
                self.marks.append((float(key), value))
        self.process.wait(LONGEST)
        return False

    def is_stopped(self) -> bool:
        """Tell whether it is stopped (or dead)."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZ"
        except FileNotFoundError:
            return True

    def go_on(self) -> None:
        """Continue everything that was stopped."""
        for pid in hosts.descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def freeze(self) -> list[int]:
        """Stop it and everything that it started, as when its machine sleeps; return their numbers."""
        frozen: list[int] = []
        while new := [pid for pid in hosts.descendants(self.process.pid) if pid not in frozen]:
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            frozen += new
        return frozen

    def kill(self, *, everything: bool) -> None:
        """SIGKILL it; with ``everything`` all that it started too, at once, as when its machine dies."""
        for pid in self.freeze() if everything else [self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end()

    def end(self, limit: float = LONGEST) -> int:
        """Wait for its end; return its exit code."""
        for line in self.told:
            key, _, value = line.rstrip("\n").partition("\t")
            if key[:1].isdigit():
                self.marks.append((float(key), value))
        try:
            return self.process.wait(limit)
        finally:
            self.late.cancel()
            self.told.close()
            self.clear()

    def clear(self) -> None:
        """Leave no process behind, whatever happened."""
        if self.process.poll() is None:
            for pid in self.freeze():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def stderr(self) -> str:
        """Return what it said."""
        return self.journal.with_name("said").read_text(errors="replace")


def points(marks: Sequence[tuple[float, str]], least: float = 0.06) -> list[Point]:
    """Return every mark as a point, and the middle of every gap between two marks of at least ``least`` seconds."""
    found = []
    for (now, name), (then, _) in zip(marks, [*marks[1:], (marks[-1][0], "")], strict=True):
        found.append(Point(name))
        if then - now >= least:
            found.append(Point(name, round((then - now) / 2, 3)))
    return found


def passed(controller: Controller) -> list[tuple[float, str]]:
    """Let a controller go to its end and return what it passed."""
    controller.until_stopped()
    code = controller.end()
    assert code == 0, controller.stderr()
    return controller.marks


def sleep_until(end: float) -> None:
    """Sleep until the monotonic clock shows this."""
    time.sleep(max(0.0, end - time.monotonic()))
