"""What bringing the agent to a host costs, by the way it is brought: ``agent_delivery.py [HOSTS [ROUNDS]]``.

docs/decisions/0013 rests on it. The results go to results-agent.json.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fleet
from agent_busy import keep
from measure import others
from measure_tree import PR_SET_CHILD_SUBREAPER
from transport import FORKS, HERE, Peer, once

WAYS = ("streamed", "in one stream", "copy", "byte code", "byte code, copy")


class FarSide:
    """CPU time of a fleet's sshd, of its sessions, and of what outlives its session for a moment."""

    def __init__(self, one: fleet.Fleet) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._one, self._orphans = one, 0.0

    def seconds(self) -> float:
        """Return it once all sessions have ended: before that theirs is not counted."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            sessions = Path(f"/proc/{self._one.pid}/task/{self._one.pid}/children").read_text().split()
            with suppress(ChildProcessError):
                pid, _, usage = os.wait4(-1, os.WNOHANG)
                self._orphans += usage.ru_utime + usage.ru_stime
                if pid:
                    continue
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            if not sessions and children == [str(self._one.pid)]:
                break
            time.sleep(0.1)
        return self._one.cpu() + self._orphans


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Return the medians for each way; all ways in turn."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    busy = others()
    with fleet.up(count) as one:
        far = FarSide(one)
        for way in WAYS:
            command = [sys.executable, str(HERE / "peers/own_delivery.py"), str(one.folder), way]
            subprocess.run(command, check=True)
        for turn in range(rounds):
            for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                before = far.seconds()
                run = once(Peer(way, "own_delivery.py", arguments=(way,)), sys.executable, one, count)
                run["sshd"] = far.seconds() - before
                lines = [json.loads(line) for line in Path(one.folder, "answers").read_text().splitlines()]
                assert len(lines) == count, f"{way}: {count - len(lines)} hosts lost"
                runs[way].append({**run, "bytes": lines[0]["bytes"], "agent_ms": lines[0]["agent_ms"]})
    rows = []
    for way, found in runs.items():
        middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
        rows.append(
            {
                "way": way,
                "bytes": middle["bytes"],
                "cpu_ms": middle["cpu"] / count * 1e3,
                "sshd_ms": middle["sshd"] / count * 1e3,
                "agent_ms": middle["agent_ms"],
            }
        )
    return {"hosts": count, "rounds": rounds, "forks": FORKS, "others": busy, "rows": rows}


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        print("\nDelivery of the agent\n\n  left out: needs root, to start an sshd")
        return 0
    count, rounds = (int(word) for word in (arguments + ["50", "3"][len(arguments) :]))
    found = measure(count, rounds)
    print(f"\nDelivery of the agent to {count} hosts, ms a host\n")
    print(f"  {'way':<18} {'KiB':>6} {'controller':>11} {'far side':>9} {'agent':>7}")
    for row in found["rows"]:
        print(
            f"  {row['way']:<18} {row['bytes'] / 1024:>6.0f} {row['cpu_ms']:>11.1f} {row['sshd_ms']:>9.1f} "
            f"{row['agent_ms']:>7.1f}"
        )
    keep("delivery", found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
