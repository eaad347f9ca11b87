"""Run the playbooks as a user without hostaudit does, and see what is different on a host afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit import hosts
from labkit.settings import LAB

HERE = Path(__file__).parent
BOOKS = HERE.parents[2] / "playbooks"
SHARED = HERE.parents[2] / "molecule/shared"
NAMES = {"b11": "bullseye", "b12": "bookworm", "b13": "trixie"}

VALUES: dict[str, dict[str, Any]] = {
    "sysctl": {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1, "net.ipv4.tcp_rmem": "4096  131072 6291456"}},
    "conntrack_timeouts": {"conntrack_timeouts_seconds": {"tcp_established": 86400, "udp": 31, "udp_stream": 99}},
    "rp_filter": {"rp_filter_interfaces": {"eth0": 0}, "rp_filter_all": 0},
    "tcp_backlog": {"tcp_backlog_somaxconn": 500, "tcp_backlog_max_syn_backlog": 3000},
    "link_mtu": {"link_mtu_links": {"eth0": 1400}},
    "mss_clamp": {"mss_clamp_interfaces": ["eth0", "wg0"], "mss_clamp_size": "1300"},
    "pve_firewall": {
        "pve_firewall_options": {"nf_conntrack_allow_invalid": 1},
        "pve_firewall_unset": ["nosmurfs"],
        "pve_firewall_drop_comments": True,
    },
}
ALL = {k: v for values in VALUES.values() for k, v in values.items()}
STATE = (SHARED / "state.sh").read_text()
KEPT = "find /var/lib/hostaudit /var/log/hostaudit /etc/systemd/system 2>/dev/null | grep hostaudit || :"


@dataclass(frozen=True)
class Played:
    """What ansible-playbook said."""

    text: str
    failed: dict[str, int]
    """Host -> failed and unreachable."""
    changed: dict[str, list[str]] = field(default_factory=dict)
    """Host -> role of every task that reported a change; empty for a task of the playbook."""


def command(book: str, variables: dict[str, Any], *flags: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line that runs a playbook of the collection on the lab's hosts, and its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    environment |= {
        "ANSIBLE_HOME": str(LAB / "ansible"),
        # not in the home directory: the host of another lab may have the same address
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(LAB / "ansible/cp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_TIMEOUT": "30",  # a connection on a busy machine
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    line = ["ansible-playbook", "-i", str(LAB / "inventory.ini"), str(BOOKS / book), "-e", json.dumps(variables)]
    return [*line, *flags], environment


def play(book: str, variables: dict[str, Any], *flags: str) -> Played:
    """Run a playbook of the collection on the lab's hosts."""
    line, environment = command(book, variables, *flags)
    done = subprocess.run(
        line, check=False, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    counts = re.findall(r"^(\w+) +: .*unreachable=(\d+) +failed=(\d+)", recap, re.MULTILINE)
    changed: dict[str, list[str]] = {}
    role = ""
    for line in done.stdout.splitlines():
        if found := re.match(r"(?:TASK|RUNNING HANDLER) \[(?:(\w+) : )?", line):
            role = found.group(1) or ""
        elif found := re.match(r"changed: \[(\w+)", line):
            changed.setdefault(found.group(1), []).append(role)
    return Played(done.stdout, {h: int(u) + int(f) for h, u, f in counts}, changed)


def remediate(roles: list[str], variables: dict[str, Any], *flags: str) -> Played:
    return play("remediate.yml", {"hostaudit_roles": roles} | variables, *flags)


def ok(played: Played) -> Played:
    """Return it, when it failed on no host."""
    assert played.failed, played.text
    assert not any(played.failed.values()), played.text
    return played


def state(name: str) -> list[str]:
    """Return files, modes, kernel values, MTUs and rules of a host, a line each."""
    return sorted(hosts.script(name, STATE).splitlines())


def states() -> dict[str, list[str]]:
    return {name: state(name) for name in NAMES}


def log(name: str) -> list[dict[str, Any]]:
    """Return the host's own log of changes."""
    text = hosts.script(name, "cat /var/log/hostaudit/changes.jsonl 2>/dev/null || :")
    return [json.loads(line) for line in text.splitlines()]


def furnish(name: str) -> None:
    """Make the hosts differ as real ones do: who configures eth0, who filters, and a stand-in for Proxmox VE."""
    hosts.run(name, "sh", "-ec", (SHARED / "furnish.sh").read_text(), input=(HERE / "pvesh").read_text())


@contextmanager
def furnished() -> Iterator[None]:
    """Start the three hosts."""
    shutil.rmtree(LAB / "ansible", ignore_errors=True)  # connections to earlier hosts that had the same addresses
    with hosts.up({name: hosts.Spec(f"boot:{suite}", groups=(suite,)) for name, suite in NAMES.items()}) as names:
        for name in names:
            furnish(name)
        yield
