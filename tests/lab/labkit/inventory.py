"""Which hosts run, kept as files in LAB_DIR that people and programs read."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.settings import LAB

Entry = dict[str, Any]
"""address, kind, suite, pid, groups (list), variables (dict)"""


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lab's lock: reading and writing the inventory is one step."""
    with (LAB / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load() -> dict[str, Entry]:
    """Return the running hosts by name."""
    try:
        hosts: dict[str, Entry] = json.loads((LAB / "inventory.json").read_text())
    except FileNotFoundError:
        return {}
    return hosts


def host_key() -> str:
    """Return the public host key, ``ssh-ed25519 AAAA...``; all lab hosts have the same one."""
    return " ".join((LAB / "hostkey.pub").read_text().split()[:2])


def known_hosts(addresses: Iterable[str], key: str = "") -> str:
    """Return the text of a known_hosts file; ``key`` replaces the right one."""
    return "".join(f"{a} {key or host_key()}\n" for a in addresses)


def ssh_config(hosts: Mapping[str, Entry]) -> str:
    """Return an OpenSSH client configuration that knows the hosts by name."""
    names = "".join(f"Host {n}\n HostName {h['address']}\n" for n, h in hosts.items())
    return names + (
        f"Host *\n User root\n IdentityFile {LAB}/key\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {LAB}/known_hosts\n"
        " ServerAliveInterval 5\n ServerAliveCountMax 3\n"
    )


def ini(hosts: Mapping[str, Entry], known: Path | None = None) -> str:
    """Return the Ansible inventory of these hosts; ``known`` is another known_hosts file than the lab's."""
    known = known or LAB / "known_hosts"
    lines = []
    for name, host in hosts.items():
        given = "".join(f" {k}={json.dumps(v)}" for k, v in host["variables"].items())
        lines.append(f"{name} ansible_host={host['address']}{given}")
    groups: dict[str, list[str]] = {}
    for name, host in hosts.items():
        for group in host["groups"]:
            groups.setdefault(group, []).append(name)
    for group, members in sorted(groups.items()):
        lines += ["", f"[{group}]", *members]
    lines += [
        "",
        "[all:vars]",
        "ansible_user=root",
        f"ansible_ssh_private_key_file={LAB}/key",
        f"ansible_ssh_common_args='-F {LAB}/ssh_config -o UserKnownHostsFile={known}'",
        # discovery may pick a version manager's shim on hosts that are made of this machine's own root
        "ansible_python_interpreter=/usr/bin/python3",
    ]
    return "\n".join(lines) + "\n"


def save(hosts: Mapping[str, Entry]) -> None:
    """Write all files, each in one rename."""
    files = {
        "inventory.json": json.dumps(hosts, indent=1) + "\n",
        "inventory.ini": ini(hosts),
        "known_hosts": known_hosts(h["address"] for h in hosts.values()),
        "ssh_config": ssh_config(hosts),
    }
    for name, text in files.items():
        (LAB / f".{name}").write_text(text)
        (LAB / f".{name}").rename(LAB / name)
