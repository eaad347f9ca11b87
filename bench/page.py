"""Writes docs/benchmarks.md from measurements: ``page.py [HOSTS...]`` measures first, for BENCH_N (50) by default.

What was measured for other numbers of hosts is kept in results.json beside this file, with its versions, so that one
run with a large fleet stays in the table. ``page.py --show`` writes the page again and measures nothing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import judging
import transport
import trouble
from measure import interleaved

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent / "docs/benchmarks.md"
ROUNDS = 3
BUSY = 4
"""Load average from which on the page says so: threads then cost up to twice as much, others about as much more."""
INTRODUCTION = """\
# What it costs

Written by `make bench` (`BENCH_N=1000 make bench` for larger fleets). CPU time is what a busy machine can still
compare: user and system time of the controller's whole process tree, the hosts' sshd left out; the median of the
rounds, with the least and the most. Ratios are what to quote. Wall times are those of one machine that plays controller
and all hosts at once. Peers are installed by the benchmark, not by the project.

The fleet is one sshd on loopback that answers for every address, as in `bench/fleet.py`; known_hosts is hashed, and
strict (asyncssh and pyinfra get the plain file: they try every hashed line for every host). All peers read the same
small fact set; Ansible reads it with five tasks.
"""
TROUBLE = "One host of twenty says nothing on a connection, one refuses them, one is behind a link of 200 ms."
PROFILE = """\

## What is left of a host's share

One more host costs the controller about 3.6 ms on a quiet machine (the difference between 300 and 50 hosts). Of these
the cryptography of the handshake is 0.2 ms (X25519 twice, an Ed25519 signature and its verification), the start of a
thread 0.05 ms, the way to the host (variables, ssh_config, known_hosts) 0.1 ms. The rest is paramiko's Python for some
25 packets, and two threads that wake each other for them. Gone are: the search of hashed names (4 ms a host of 1,000),
fabric's merge of configurations (0.4 ms), a timer thread per handshake, an HMAC in Python per packet, a second system
call per packet, waits that wake up ten times a second, and blocks of ssh_config for other hosts (15 ms where each of
1,000 has one). On a machine that is busy with other things threads cost more than the single loop of libssh2.
"""


def load() -> dict[str, Any]:
    """Return what was measured before."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def measure(counts: list[int]) -> None:
    """Measure, and keep the results."""
    results = load()
    with transport.environments() as folder:
        for count in counts:
            chosen = transport.affordable(count)
            rows = transport.measure(count, 2 if count > 300 else ROUNDS, chosen, folder)
            results.setdefault("transport", {})[str(count)] = {
                "rows": rows,
                "versions": transport.versions(chosen, folder),
                "load": os.getloadavg()[0],
            }
    results.setdefault("trouble", {})[str(max(counts))] = trouble.measure(max(counts))
    results.setdefault("judging", {}).update({str(int(row["hosts"])): row for row in judging.table(sorted(counts))})
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "hostaudit --help": [str(Path(sys.executable).parent / "hostaudit"), "--help"],
        "hostaudit run, one sample, not stored": [
            str(Path(sys.executable).parent / "hostaudit"),
            *("run", "--interval", "0", "--no-store", "--fail-on", "never", "--format", "json"),
        ],
        "ansible --version": [str(Path(sys.executable).parent / "ansible"), "--version"],
    }
    results["startup"] = {name: cost.cpu_ms for name, cost in interleaved(commands).items()}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def write() -> None:
    """Write the page."""
    results = load()
    parts = [INTRODUCTION]
    for count, found in sorted(results.get("transport", {}).items(), key=lambda item: int(item[0])):
        parts.append(_transport(int(count), found))
    parts += [PROFILE, _trouble(results.get("trouble", {})), _judging(results.get("judging", {}))]
    parts.append(_startup(results.get("startup", {})))
    PAGE.write_text("".join(parts))


def _transport(count: int, found: dict[str, Any]) -> str:
    rows = sorted(found["rows"], key=lambda row: row["cpu_ms"])
    own = next(row["cpu_ms"] for row in rows if row["peer"].startswith("hostaudit, small"))
    lines = [
        f"\n## {count} hosts\n",
        "| | CPU ms a host | least to most | ratio | hosts lost | peak MiB | wall s | sshd ms a host |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        name = f"**{row['peer']}**" if row["peer"].startswith("hostaudit") else row["peer"]
        lines.append(
            f"| {name} | {row['cpu_ms']:.1f} | {row['least']:.1f} to {row['most']:.1f} | {row['cpu_ms'] / own:.2f} "
            f"| {row['lost']} | {row['peak_mib']:.0f} | {row['wall']:.1f} | {row['sshd_ms']:.0f} |"
        )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
    load = (
        f"\n\nThe machine was busy with other things: load {found['load']:.0f}." if found.get("load", 0) > BUSY else ""
    )
    return "\n".join(lines) + f"{load}\n\n{versions.replace('OpenSSH OpenSSH_', 'OpenSSH ')}.\n"


def _trouble(found: dict[str, Any]) -> str:
    lines = [
        "\n## A fleet in trouble\n",
        f"{TROUBLE} 20 forks, a deadline of {trouble.DEADLINE:.0f} s.\n",
        "| hosts | healthy ones alone, s | all, s | 1.3 times, and a deadline, s | answered | CPU ms a host |",
        "| --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row['hosts']} | {row['healthy_wall']:.1f} | {row['whole_wall']:.1f} | {row['bound']:.1f} "
        f"| {row['answers']} of {row['expected']} | {row['cpu_ms']:.1f} |"
        for _, row in sorted(found.items(), key=lambda item: int(item[0]))
    ]
    return "\n".join(lines) + "\n"


def _judging(found: dict[str, Any]) -> str:
    lines = [
        "\n## Judging\n",
        f"All checks over copies of one host, in cohorts of {judging.COHORT}.\n",
        "| hosts | decode, ms a host | all checks, ms a host | peak MiB |",
        "| --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row['hosts']} | {row['decode_ms']:.2f} | {row['judge_ms']:.2f} | {row['peak_mib']:.0f} |"
        for _, row in sorted(found.items(), key=lambda item: int(item[0]))
    ]
    return "\n".join(lines) + "\n"


def _startup(found: dict[str, float]) -> str:
    lines = ["\n## Start-up\n", "| command | CPU ms | ratio |", "| --- | --: | --: |"]
    lines += [f"| `{name}` | {ms:.0f} | {ms / found['python -c pass']:.1f} |" for name, ms in found.items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        print("\nA fleet\n\n  left out: needs root, to start an sshd")
        return 0
    if arguments != ["--show"]:
        measure([int(a) for a in arguments] or [int(os.environ.get("BENCH_N", "50"))])
    write()
    print(f"\nwritten: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
