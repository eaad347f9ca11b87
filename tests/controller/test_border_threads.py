"""Answers of several hosts are decoded at the same time; made in the threads, msgspec's decoders crash the process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import dataclasses, json, sys, threading
from hostaudit import border
from hostaudit_agent.snapshot import Snapshot

body = json.dumps(dataclasses.asdict(Snapshot("0", 1.0, 0.0, True))).encode()
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def decode():
    together.wait()
    border.snapshot(body, "host")

threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
RUNS = 12
"""Half of the runs crashed while the decoders were made by the threads."""


def test_eight_answers_at_once_do_not_crash_the_process() -> None:
    codes = {subprocess.run([sys.executable, "-c", PROGRAM], check=False).returncode for _ in range(RUNS)}
    assert codes == {0}
