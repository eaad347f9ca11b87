"""Runs one command and prints what all of its processes cost, as JSON: ``measure_tree.py SECONDS COMMAND...``.

As subreaper it also waits for what the command leaves behind, such as the masters of ControlPersist, which it ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def descendants(pid: int) -> list[int]:
    """Return the processes below one."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def memory() -> float:
    """Return the MiB of all descendants; pages that several share are counted once (proportional set size)."""
    total = 0
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def main() -> int:
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], memory())

    began = time.monotonic()
    process = subprocess.Popen(command, stdout=sys.stderr)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    wall = time.monotonic() - began
    over.set()
    watcher.join()
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)
        time.sleep(0.1)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"code": code, "cpu": cpu, "wall": wall, "peak_mib": max(peak[0], 0.0)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
