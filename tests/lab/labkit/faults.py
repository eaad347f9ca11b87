"""Hosts with a journal and a plan, and commands of hostaudit that are watched, and killed, through their journal.

What fails at a point that is named exactly is in ``strikes.py``.
"""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit import hosts
from labkit.audit import write_inventory
from labkit.plans import Done, command, hostaudit, write_plan

KEY, WANTED = "net.core.somaxconn", 5000
SECONDS = 33
"""For the confirmation: the shortest that `apply` takes with these windows."""
QUICK = ("--verify-seconds", "1", "--confirm-timeout", str(SECONDS), "--serial", "1,100%", "--no-watch")
STATE = f"""
sysctl -n {KEY}
cat /etc/sysctl.d/zz-hostaudit.conf 2>/dev/null | grep -v '^#' | tr -d ' ' || :
echo --
ls /var/lib/hostaudit/guard 2>/dev/null || :
ls /etc/systemd/system | grep hostaudit-guard || :
systemctl list-timers --all --no-legend 'hostaudit-guard*' | grep . || :
"""


@dataclass(frozen=True)
class Truth:
    """What a host is, seen from inside, past its sshd and past hostaudit."""

    value: str
    dropin: str
    leftovers: tuple[str, ...]

    @property
    def whole(self) -> str:
        """``confirmed`` or ``as before``; ``half`` for anything else."""
        if self.leftovers:
            return "half"
        changed = (self.value == str(WANTED), self.dropin == f"{KEY}={WANTED}")
        return {(True, True): "confirmed", (False, False): "as before"}.get(changed, "half")


def truth(name: str) -> Truth:
    lines = hosts.script(name, STATE).splitlines()
    cut = lines.index("--")
    return Truth(lines[0], "".join(lines[1:cut]), tuple(lines[cut + 1 :]))


@dataclass
class Fleet:
    """Hosts with a journal and a plan of their own."""

    names: Sequence[str]
    directory: Path
    variables: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.journal = self.directory / "journal.db"
        self.source = write_inventory(self.directory / "inventory.ini", self.names, self.variables)
        self.source.write_text(self.source.read_text() + "\nhostaudit_cohort=all\n")
        self.plan = self.directory / "plan.json"

    def planned(self, role: str = "tcp_backlog", **variables: object) -> Path:
        given = variables or {"tcp_backlog_somaxconn": WANTED}
        return write_plan(self.plan, self.source, role, given)

    def apply(self, *options: str) -> Done:
        return hostaudit(self.journal, "apply", self.plan, "-i", self.source, "--format", "json", *QUICK, *options)

    def resume(self) -> Done:
        return hostaudit(self.journal, "apply", "--resume", "-i", self.source, "--format", "json", *QUICK)

    def rollback(self, change: str, *options: str) -> Done:
        words = ("rollback", change, "-i", self.source, "--format", "json", *QUICK[:-1], *options)
        return hostaudit(self.journal, *words)

    def start(self, *options: str, undo: str = "") -> subprocess.Popen[str]:
        """Start an apply, or the undo of a change, without waiting for it."""
        what = ("rollback", undo, *QUICK[:-1]) if undo else ("apply", self.plan, *QUICK)
        line, environment = command(self.journal, *what, "-i", self.source, "--format", "json", *options)
        return subprocess.Popen(
            line, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def entries(self) -> list[tuple[str, str, str]]:
        """Return kind, step and phase of every entry of the journal."""
        if not self.journal.exists():
            return []
        query = "SELECT kind, payload ->> 'step', payload ->> 'phase' FROM journal ORDER BY sequence"
        try:
            with sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=1) as database:
                return [(k, s or "", p or "") for k, s, p in database.execute(query)]
        except sqlite3.OperationalError:
            return []

    def states(self, change: str) -> dict[str, str]:
        """Return the last state of each host that the journal has."""
        query = (
            "SELECT host, payload ->> 'state' FROM journal WHERE change = ? AND payload ->> 'step' = 'state' "
            "ORDER BY sequence"
        )
        with sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True) as database:
            return dict(database.execute(query, (change,)))

    def change(self) -> str:
        """Return the id of the last change that began; empty where none did."""
        query = "SELECT change FROM journal WHERE kind = 'change-begin' ORDER BY sequence DESC LIMIT 1"
        try:
            with sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True) as database:
                return next((str(c) for (c,) in database.execute(query)), "")
        except sqlite3.OperationalError:
            return ""

    def as_before(self) -> None:
        """Put every host back, whatever it is, past hostaudit; the next fault begins from here."""
        for name in self.names:
            hosts.script(
                name,
                f"for g in /var/lib/hostaudit/changes/*/guard; do [ ! -e $g ] || sh $g undo "
                f"$(basename $(dirname $g)) force; done; rm -rf /var/lib/hostaudit /etc/sysctl.d/zz-hostaudit.conf; "
                f"sysctl -qw {KEY}=4096",
            )


def when(fleet: Fleet, process: subprocess.Popen[str], seen: Callable[[list[tuple[str, str, str]]], bool]) -> bool:
    """Wait until the journal shows it, or the process ends; tell whether it was seen."""
    while process.poll() is None:
        if seen(fleet.entries()):
            return True
        time.sleep(0.004)
    return seen(fleet.entries())


def kill(process: subprocess.Popen[str], *, everything: bool) -> str:
    """SIGKILL the controller; with ``everything`` also the processes that it started, as when its machine dies.

    Return what it said.
    """
    family = hosts.descendants(process.pid) if everything else [process.pid]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        return process.communicate()[1]
    except ValueError:  # it was read to its end already
        return ""
