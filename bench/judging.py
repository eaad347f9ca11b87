"""What it costs to judge a fleet: ``judging.py [HOSTS...]`` (100, 1,000 and BENCH_N hosts, in cohorts of 50).

The hosts are this one's snapshot, with names and addresses of their own; all checks run over all of them.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hostaudit import border
from hostaudit.bundle import build
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host
from hostaudit.policy import Policy

PYTHON = "/usr/bin/python3"
COHORT = int(os.environ.get("BENCH_COHORT", "50"))


def body() -> bytes:
    """Return this machine's snapshot as its agent prints it."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder, "agent.pyz")
        agent.write_bytes(build())
        command = [PYTHON, "-I", "-S", str(agent), "--interval", "0.1"]
        return subprocess.run(command, check=True, capture_output=True).stdout


def fleet(text: bytes, count: int) -> list[Collected]:
    """Return as many hosts that answered, each decoded on its own as from the wire."""
    answers = []
    for number in range(count):
        snapshot = border.snapshot(text, "bench")
        if snapshot.platform:
            snapshot.platform.hostname = f"node{number:05}"
        answers.append(Collected(Host(f"node{number:05}", (f"group{number // COHORT}",)), snapshot, 1.0))
    return answers


def measure(text: bytes, count: int) -> dict[str, float]:
    """Return CPU milliseconds per host and peak memory of a process of its own."""
    began = time.process_time()
    answers = fleet(text, count)
    decoded = time.process_time()
    findings = evaluate(answers, Policy())
    done = time.process_time()
    return {
        "hosts": count,
        "decode_ms": (decoded - began) / count * 1e3,
        "judge_ms": (done - decoded) / count * 1e3,
        "findings": len(findings),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(counts: list[int]) -> list[dict[str, float]]:
    """Measure each number of hosts in a process of its own."""
    text = body()
    rows = []
    for count in counts:
        command = [sys.executable, __file__, "--one", str(count)]
        done = subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE)
        rows.append(json.loads(done.stdout))
    return rows


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        text = sys.stdin.buffer.read()
        measure(text, 3)  # the checks are imported by now
        gc.collect()
        print(json.dumps(measure(text, int(arguments[1]))))
        return 0
    counts = [int(a) for a in arguments] or [100, 1000]
    print(f"\nJudging, all checks, cohorts of {COHORT}\n")
    print(f"  {'hosts':>7} {'decode ms/host':>15} {'judge ms/host':>14} {'peak MiB':>9}")
    for row in table(counts):
        print(f"  {row['hosts']:>7} {row['decode_ms']:>15.2f} {row['judge_ms']:>14.2f} {row['peak_mib']:>9.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
