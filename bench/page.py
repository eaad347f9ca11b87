"""Writes docs/benchmarks.md from measurements: ``page.py [PART] [HOSTS...]`` measures first, BENCH_N (50) hosts.

What was measured for other numbers of hosts is kept in results.json beside this file, with its versions, so that one
run with a large fleet stays in the table. ``page.py apply 50`` measures one of the ``parts`` only; ``page.py --show``
writes the page again and measures nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import agent_page
import apply
import inventories
import judging
import parts
import trouble
from measure import remark

PAGE = Path(__file__).resolve().parent.parent / "docs/benchmarks.md"
INTRODUCTION = """\
# What it costs

Written by `make bench` (`BENCH_N=1000 make bench` for larger fleets). CPU time is what a busy machine can still
compare: user and system time of the controller's whole process tree, the hosts' sshd left out; the median of the
rounds, with the least and the most. Ratios are what to quote. Wall times are those of one machine that plays controller
and all hosts at once. Peers are installed by the benchmark, not by the project.

The fleet is one sshd on loopback that answers for every address, as in `bench/fleet.py`; known_hosts is hashed, and
strict (asyncssh and pyinfra get the plain file: they try every hashed line for every host). All peers read the same
small fact set; Ansible reads it with five tasks, or as one script.
"""
TROUBLE = "One host of twenty says nothing on a connection, one refuses them, one is behind a link of 200 ms."
PROFILE = """\

## What is left of a host's share

One more host costs the controller about 3.4 ms on a quiet machine (the difference between 300 and 50 hosts). Counted
for one host with the small fact set, these are 4,300 function calls of Python and C, 8 packets sent and 13 received.
A third of the calls puts packets together and takes them apart in paramiko, a tenth is the waiting of two threads for
each other; login, route, known_hosts and ssh_config are 300. Handshake: cryptography 0.3 ms (X25519 twice, an Ed25519
signature and its verification), the start of a thread 0.05 ms. Gone are: the search of hashed names (4 ms a host of
1,000), fabric's merge of configurations (0.4 ms), a timer thread per handshake, an HMAC in Python per packet, a
second system call per packet, waits that wake up ten times a second, ssh arguments that are split anew for every
host, and blocks of ssh_config for other hosts (15 ms where each of 1,000 has one). On a machine that is busy with
other things threads cost more than the single loop of libssh2. There are no shards in several processes:
[decision 12](decisions/0012-one-process-reads-the-fleet.md).
"""
JUDGING = """\
All checks over copies of one host, with names, addresses and counters of their own, in cohorts of {cohort}. What is
left is about one third each: the comparison of some 200 facts of every host with its cohort, some fifty checks of
single hosts, and the views that they get and the findings that they return. Snapshots share the knobs and the names
of counters that are the same on most hosts, which is two thirds of their memory; what remains, about 100 KiB a host,
is their own numbers and some 50 findings. It is held until the run is stored, so that memory grows with the hosts.
"""
STARTUP = """\
Of a run on this host that is kept, about half is keeping it, most of which is the import of SQLAlchemy, and a fifth is
the agent, which is a process of its own.
"""


def write() -> None:
    """Write the page."""
    results = parts.load()
    page = [INTRODUCTION]
    for count, found in sorted(results.get("transport", {}).items(), key=lambda item: int(item[0])):
        page.append(_transport(f"{count} hosts", found))
    page += [PROFILE, _namespaces(results.get("namespaces")), _trouble(results.get("trouble", {}))]
    page += [_judging(results.get("judging", {})), inventories.section(results.get("inventories", {}))]
    page += [apply.section(results.get("apply", {})), _startup(results.get("startup", {})), agent_page.section()]
    PAGE.write_text("".join(page))


def _namespaces(found: dict[str, Any] | None) -> str:
    return _transport(f"{found['hosts']} hosts with a kernel state and an sshd of their own", found) if found else ""


def _transport(title: str, found: dict[str, Any]) -> str:
    rows = sorted(found["rows"], key=lambda row: row["cpu_ms"])
    own = next(row["cpu_ms"] for row in rows if row["peer"].startswith("hostaudit, small"))
    lines = [
        f"\n## {title}\n",
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
    busy = remark(found.get("others", 0))
    return "\n".join(lines) + f"{busy}\n\n{versions.replace('OpenSSH OpenSSH_', 'OpenSSH ')}.\n"


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
        JUDGING.format(cohort=judging.COHORT),
        "| hosts | decode, ms a host | all checks, ms a host | peak MiB |",
        "| --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row['hosts']} | {row['decode_ms']:.2f} | {row['judge_ms']:.2f} | {row['peak_mib']:.0f} |"
        for _, row in sorted(found.items(), key=lambda item: int(item[0]))
    ]
    return "\n".join(lines) + "\n"


def _startup(found: dict[str, float]) -> str:
    lines = ["\n## Start-up\n", STARTUP, "| command | CPU ms | ratio |", "| --- | --: | --: |"]
    lines += [f"| `{name}` | {ms:.0f} | {ms / found['python -c pass']:.1f} |" for name, ms in found.items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        print("\nA fleet\n\n  left out: needs root, to start an sshd")
        return 0
    only = arguments.pop(0) if arguments and arguments[0] in parts.PARTS else ""
    if arguments != ["--show"]:
        parts.measure(only, [int(a) for a in arguments] or [int(os.environ.get("BENCH_N", "50"))])
    write()
    print(f"\nwritten: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
