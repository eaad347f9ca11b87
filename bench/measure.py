"""CPU seconds and peak memory of whole processes: what a noisy machine can still compare."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.turns import idle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Cost:
    """Of one command: the least CPU over the runs, and the largest resident set."""

    cpu_ms: float
    peak_mib: float


BUSY = 0.5
"""Processors that others may use beside a benchmark before its page says so: threads then cost up to twice as much."""


def others() -> float:
    """Return how many processors are in use while this program sleeps for a second.

    Load averages would not do: they hold what the part of the benchmark before this one did.
    """
    began, before = time.monotonic(), idle()
    time.sleep(1)
    return (1 - (idle() - before) / (time.monotonic() - began)) * (os.cpu_count() or 1)


def remark(processors: float) -> str:
    """Return a paragraph for the page, where others were at work."""
    if processors <= BUSY:
        return ""
    return f"\n\nThe machine was busy with other things: they used {processors:.1f} of its {os.cpu_count()} processors."


def cost(command: Sequence[str], runs: int = 10) -> Cost:
    """Run a command several times; raises CalledProcessError when it fails."""
    least, peak = float("inf"), 0.0
    for _ in range(runs):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=_environment())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        least = min(least, (usage.ru_utime + usage.ru_stime) * 1e3)
        peak = max(peak, usage.ru_maxrss / 1024)
    return Cost(least, peak)


def interleaved(commands: Mapping[str, Sequence[str]], rounds: int = 5) -> dict[str, Cost]:
    """Measure several commands in turn, so that a busy minute hits all of them alike."""
    best: dict[str, Cost] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            now = cost(command, 2)
            before = best.get(name, now)
            best[name] = Cost(min(now.cpu_ms, before.cpu_ms), max(now.peak_mib, before.peak_mib))
    return best


def _environment() -> dict[str, str]:
    """Return the environment without what would switch off Python's caches: users have them."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HOSTAUDIT_"))}
