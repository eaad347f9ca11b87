"""Who runs this controller, and whether a process that took a lock is still there; elsewhere than on Linux, unknown."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hostaudit.journal.entry import Actor

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fate(StrEnum):
    """What has become of a process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It cannot be told from here: another machine, another container, or no /proc."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be recognised again: pids are used anew, after a reboot at once."""

    pid: int
    mark: str
    """``BOOT_ID PID_NAMESPACE START``: of the kernel, of the container, and the start in ticks since boot
    (field 22 of /proc/PID/stat, proc_pid_stat(5)). Empty where there is no /proc."""

    @classmethod
    def this(cls) -> Process:
        """Return the running process."""
        pid = os.getpid()
        return cls(pid, _mark(pid))

    def fate(self) -> Fate:
        """Say whether the process lives, as far as that can be told from here."""
        here = _mark(os.getpid()).split()
        there = self.mark.split()
        if len(here) != 3 or len(there) != 3 or here[:2] != there[:2]:
            return Fate.UNKNOWN
        now = _mark(self.pid)
        if not now and _exists(self.pid):  # /proc is mounted with hidepid
            return Fate.UNKNOWN
        return Fate.ALIVE if now == self.mark else Fate.GONE


def whoami(environ: Mapping[str, str] | None = None) -> Actor:
    """Return who is in front of this controller."""
    environ = os.environ if environ is None else environ
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        account = f"uid {os.getuid()}"
    user = environ.get("SUDO_USER") or account
    run_as = account if user != account else ""
    return Actor(user, socket.gethostname(), environ.get("SSH_CONNECTION", ""), run_as)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _mark(pid: int) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    start = stat.rpartition(")")[2].split()[19]  # the name, in parentheses, may hold anything
    return f"{boot} {space} {start}"
