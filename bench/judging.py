"""What it costs to judge a fleet: ``judging.py [HOSTS...]`` (100, 1,000 and BENCH_N hosts, in cohorts of 50).

The hosts are this one's snapshot with names, addresses, counters and times of their own; all checks run over all of
them. Each is decoded as from the wire.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hostaudit import border
from hostaudit.bundle import build
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host
from hostaudit.policy import Policy

PYTHON = "/usr/bin/python3"
COHORT = int(os.environ.get("BENCH_COHORT", "50"))
DIFFERENT = 500
"""Hosts after which numbers and addresses come again, in another cohort, under another name."""
HOSTNAME = "the-name-of-the-host"
ADDRESS = re.compile(r"\b(\d+\.\d+)\.\d+\.(?!0\b)\d+(?![.\d])")
MAC = re.compile(r"\b((?:[0-9a-f]{2}:){4})[0-9a-f]{2}:[0-9a-f]{2}\b")
ALIKE = frozenset({"mtu", "table", "priority", "port", "protocol", "line"})
"""Numbers that hosts of one kind share."""


def agent_command(folder: str) -> list[str]:
    """Write the agent and return how to start it."""
    agent = Path(folder, "agent.pyz")
    agent.write_bytes(build())
    return [PYTHON, "-I", "-S", str(agent)]


def body() -> bytes:
    """Return this machine's snapshot as its agent prints it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*agent_command(folder), "--interval", "0.1"]
        return subprocess.run(command, check=True, capture_output=True).stdout


def of_host(value: Any, number: int, dice: random.Random, key: str = "") -> Any:
    """Return a part of the snapshot as another host of the same kind would have it."""
    if isinstance(value, dict):
        return {name: of_host(inner, number, dice, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [of_host(inner, number, dice, key) for inner in value]
    if isinstance(value, str) and (":" in value or "." in value):
        value = ADDRESS.sub(rf"\g<1>.{number // 250 % 250}.{number % 250 + 2}", value)
        return MAC.sub(rf"\g<1>{number // 256 % 256:02x}:{number % 256:02x}", value)
    if isinstance(value, int) and value > 200 and key not in ALIKE:
        return value + dice.randrange(value // 4)
    return value


def fleet(text: bytes, count: int) -> tuple[list[Collected], float]:
    """Return as many hosts that answered, and the CPU seconds of decoding them, each on its own."""
    whole = json.loads(text)
    lines = []
    for number in range(min(count, DIFFERENT)):
        one = of_host(whole, number, random.Random(number))  # noqa: S311 - the same fleet every time
        one["platform"]["hostname"] = HOSTNAME
        lines.append(json.dumps(one).encode())
    answers, spent = [], 0.0
    for number in range(count):
        line = lines[number % DIFFERENT].replace(HOSTNAME.encode(), b"node%05d" % number)
        began = time.process_time()
        snapshot = border.snapshot(line, "bench")
        spent += time.process_time() - began
        answers.append(Collected(Host(f"node{number:05}", (f"group{number // COHORT}",)), snapshot, 1.0))
    return answers, spent


def measure(text: bytes, count: int) -> dict[str, float]:
    """Return CPU milliseconds per host and peak memory of a process of its own."""
    answers, decoding = fleet(text, count)
    began = time.process_time()
    findings = evaluate(answers, Policy())
    judging = time.process_time() - began
    return {
        "hosts": count,
        "decode_ms": decoding / count * 1e3,
        "judge_ms": judging / count * 1e3,
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
