"""What a guarded, verified and journaled change costs beside Ansible: ``apply.py [HOSTS] [ROUNDS]`` (BENCH_N, 12).

Role tcp_backlog, with the same values, on hosts of the lab that have a network namespace, files and sshd of their own:
by a playbook of three lines, by the collection's playbook with its guard, and by ``hostaudit apply``. All with
pipelining and as many forks as hosts. Up to ``REAL`` hosts run systemd; larger fleets are of hosts without, on which a
stand-in answers the guard's calls of systemctl.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LAB = HERE.parent / "tests/lab"
PLAYBOOKS = HERE.parent / "playbooks"
BIN = Path(sys.executable).parent
REAL = 3
"""Hosts with systemd that fit beside others: each takes some of the machine's 128 inotify instances."""
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))
SYSTEMCTL = """#!/bin/sh
case "$*" in *SubState*) echo SubState=waiting ;; *is-enabled*) echo enabled ;; esac
"""
SAYS = """\
Role `tcp_backlog` on hosts of the lab, pipelining on, as many forks as hosts; CPU of the controller's process tree.
`hostaudit apply` reads the inventory and Ansible's configuration, reads every host before and after over new
connections, arms and confirms the guard, tries probes, and writes its journal. One canary goes first, and Ansible
starts anew for each batch: about 2 s of CPU whatever the number of hosts. Its wall time has the windows of one second
that are compared. What the guard costs a host are its tasks in Ansible, beside those of the role; the event that
ansible-runner writes and reads for each task on each host is a seventh of what `apply` costs. Hosts without systemd
have a stand-in for the guard's calls of systemctl."""


def commands(folder: Path, source: Path, plan: Path, count: int) -> dict[str, list[str]]:
    """Return the ways to make the change."""
    values = folder / "vars.yml"
    values.write_text("hostaudit_roles: [tcp_backlog]\ntcp_backlog_somaxconn: 5000\n")
    for name, serial in (("plain", "100%"), ("serial", "[1, 100%]")):
        book = f"- hosts: all\n  gather_facts: false\n  serial: {serial}\n  roles: [tcp_backlog]\n"
        (folder / f"{name}.yml").write_text(book)
    ansible = [str(BIN / "ansible-playbook"), "-i", str(source), f"--forks={count}", "-e", f"@{values}"]
    apply = [str(BIN / "hostaudit"), "apply", str(plan), "-i", str(source), f"--forks={count}", "--format", "json"]
    apply += ["--verify-seconds", "1", "--no-watch"]
    return {
        "ansible-playbook, the role alone": [*ansible, str(folder / "plain.yml")],
        "ansible-playbook, the role alone, one host first": [*ansible, str(folder / "serial.yml")],
        "ansible-playbook, remediate.yml with its guard": [*ansible, str(PLAYBOOKS / "remediate.yml")],
        "hostaudit apply, one host first": [*apply, "--serial", "1,100%"],
        "hostaudit apply, batches as by default": apply,
    }


def once(command: list[str], folder: Path) -> dict[str, float]:
    """Run one of them; return CPU seconds and wall. Raises RuntimeError when it failed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "HOSTAUDIT_", "PYTHON"))}
    environment = kept | {
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_ROLES_PATH": str(PLAYBOOKS / "roles"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "HOSTAUDIT_JOURNAL": f"sqlite:///{folder}/journal.db",
    }
    tree = [sys.executable, str(HERE / "measure_tree.py"), os.environ.get("BENCH_LIMIT", "900"), *command]
    done = subprocess.run(tree, check=True, capture_output=True, text=True, env=environment)
    cost: dict[str, float] = json.loads(done.stdout)
    if cost["code"]:
        message = f"{' '.join(command)}: exit code {cost['code']:.0f}\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    return cost


def inside(count: int, rounds: int) -> list[dict[str, Any]]:
    """Measure, in a world of the lab."""
    sys.path.insert(0, str(LAB))
    from labkit import hosts  # noqa: PLC0415 - it is on the path from here on
    from labkit.faults import Fleet  # noqa: PLC0415 - as above
    from labkit.hosts import Spec  # noqa: PLC0415 - as above

    kind = "boot:bookworm" if count <= REAL else "ns:bookworm"
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, hosts.up({f"h{n:03}": Spec(kind) for n in range(count)}) as names:
        folder = Path(name)
        if count > REAL:
            for one in names:
                hosts.script(one, "mkdir -p /run/systemd/system /usr/local/bin")
                hosts.run(one, "sh", "-c", "cat >/usr/bin/systemctl; chmod 755 /usr/bin/systemctl", input=SYSTEMCTL)
        fleet = Fleet(names, folder / "fleet")
        fleet.as_before()
        plan = fleet.planned()
        for turn in range(rounds):
            ways = list(commands(folder, fleet.source, plan, count).items())
            for way, command in ways if turn % 2 == 0 else ways[::-1]:
                fleet.as_before()
                runs.setdefault(way, []).append(once(command, folder))
                print(f"  {count} {way}: {runs[way][-1]}", file=sys.stderr, flush=True)
    return [
        {
            "way": way,
            "hosts": count,
            "kind": kind,
            "cpu": statistics.median(one["cpu"] for one in found),
            "least": min(one["cpu"] for one in found),
            "most": max(one["cpu"] for one in found),
            "wall": statistics.median(one["wall"] for one in found),
        }
        for way, found in runs.items()
    ]


def measure(count: int, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure in a world of its own."""
    command = [sys.executable, str(LAB / "lab.py"), "run", "--", sys.executable, __file__, "--inside"]
    done = subprocess.run([*command, str(count), str(rounds)], check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def section(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page's part."""
    if not found:
        return ""
    lines = [
        f"\n## Changing hosts\n\n{SAYS}\n",
        "| hosts | by | CPU s | least to most | ratio | wall s | ratio |",
        "| --: | --- | --: | --: | --: | --: | --: |",
    ]
    for _, rows in sorted(found.items(), key=lambda item: int(item[0])):
        base = rows[0]
        lines += [
            f"| {row['hosts']} | {row['way']} | {row['cpu']:.1f} | {row['least']:.1f} to {row['most']:.1f} "
            f"| {row['cpu'] / base['cpu']:.2f} | {row['wall']:.0f} | {row['wall'] / base['wall']:.2f} |"
            for row in sorted(rows, key=lambda row: row["cpu"])
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--inside"]:
        print(json.dumps(inside(int(arguments[1]), int(arguments[2]))))
        return 0
    if os.geteuid() != 0:
        print("\nChanging hosts\n\n  left out: needs root, for hosts of the lab")
        return 0
    count = int(arguments[0] if arguments else os.environ.get("BENCH_N", "12"))
    print(section({str(count): measure(count, int(arguments[1]) if arguments[1:] else ROUNDS)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
