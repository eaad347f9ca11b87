"""What machine this is: system, container, kernel modules, Proxmox VE, and what else writes its network knobs.

Everything is read from files; nothing is run. A process counts as an owner of this node's knobs only where it is in
the same network namespace, as far as that may be seen: a kube-proxy inside a container on a hypervisor is not.

``first_netns``: net/core/netdev_budget belongs to the kernel as a whole and is shown in its first network namespace
only (net/core/sysctl_net_core.c, net_core_table), while other files of net/core are in every one. Inode numbers are
no sign: until 6.18 that of the first namespace was not fixed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit_agent import bitlist, proxmox
from hostaudit_agent.snapshot import Owner, Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

MODULES = {
    "nf_conntrack": "proc/sys/net/netfilter/nf_conntrack_count",
    "nf_conntrack_netlink": "",
    "nf_conntrack_bridge": "",
    "br_netfilter": "proc/sys/net/bridge/bridge-nf-call-iptables",
    "nf_tables": "",
    "ip_tables": "proc/net/ip_tables_names",
    "ip6_tables": "proc/net/ip6_tables_names",
    "xt_conntrack": "",
    "ip_vs": "proc/net/ip_vs",
    "openvswitch": "",
    "vxlan": "",
    "wireguard": "",
}
"""Module -> the file that shows that it is there, loaded or built in."""


class Writer(NamedTuple):
    """A program that writes knobs: under which name it is an owner, and the packages that carry its version."""

    owner: str
    packages: tuple[str, ...] = ()


WRITERS = {
    "pve-firewall": Writer("pve-firewall", ("pve-firewall",)),
    "proxmox-firewal": Writer("proxmox-firewall", ("proxmox-firewall",)),
    "kube-proxy": Writer("kube-proxy"),
    "k3s-server": Writer("kube-proxy"),  # k3s holds kube-proxy in its own process
    "k3s-agent": Writer("kube-proxy"),
    "kube-router": Writer("kube-router"),
    "cilium-agent": Writer("cilium"),
    "calico-node": Writer("calico"),
    "calico-felix": Writer("calico"),
    "dockerd": Writer("docker", ("docker-ce", "docker.io", "moby-engine")),
    "tuned": Writer("tuned", ("tuned",)),
    "firewalld": Writer("firewalld", ("firewalld",)),
}
"""By process name, of which the kernel keeps 15 bytes."""

FILES = (("cilium", "etc/sysctl.d/99-zzz-override_cilium.conf"),)
"""Files that an owner leaves, for the time when its process is not running."""
CONTAINERS = (("docker", "docker"), ("kubepods", "kubernetes"), ("libpod", "podman"), ("lxc", "lxc"))
"""What /proc/1/cgroup names -> the container's kind."""


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> Platform:
    """Return what the machine says of itself. Parts that may not be read are told to ``unread``."""
    del before
    release = _os_release(root.read_text("etc/os-release") or root.read_text("usr/lib/os-release") or "")
    hostname = _line(root, "proc/sys/kernel/hostname")
    processes = _processes(root)
    commands = {name for name, _ in processes}
    packages = b"\n" + (root.read_bytes("var/lib/dpkg/status") or b"")
    boot_id, booted = _boot(root)
    return Platform(
        hostname=hostname,
        kernel=_line(root, "proc/sys/kernel/osrelease"),
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        arch=_line(root, "proc/sys/kernel/arch") or (os.uname().machine if root.live else ""),
        init=_line(root, "proc/1/comm"),
        container=_container(root),
        first_netns=_first_netns(root),
        cpus=bitlist.count(_line(root, "sys/devices/system/cpu/online")),
        memory=_memory(root.read_text("proc/meminfo") or ""),
        uptime=float((_line(root, "proc/uptime").split() or ["0"])[0]),
        boot_id=boot_id,
        booted=booted,
        modules=_modules(root),
        proxmox=proxmox.read(root, lambda package: version(packages, package), hostname, commands, unread),
        owners=_owners(root, processes, packages),
    )


def version(status: bytes, package: str) -> str | None:
    """Return the version of an installed package from dpkg's status file; ``None`` when it is not installed.

    ``status`` is the file with a line feed before it.
    """
    _, found, rest = status.partition(b"\nPackage: " + package.encode() + b"\n")
    if not found:
        return None
    lines = rest.partition(b"\n\n")[0].decode("utf-8", "replace").splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))
    return fields.get("Version", "") if fields.get("Status", "").endswith(" installed") else None


def _boot(root: Root) -> tuple[str, float]:
    """Return which boot this is, and when it was.

    A container has its own process 1, and the boot_id of its kernel: field 22 of /proc/1/stat tells its boots apart.
    """
    stat = _line(root, "proc/1/stat").rpartition(")")[2].split()
    start = stat[19] if len(stat) > 19 else ""
    boot = next(
        (line[6:] for line in (root.read_text("proc/stat") or "").splitlines() if line.startswith("btime ")), ""
    )
    seconds = int(boot) + int(start) / os.sysconf("SC_CLK_TCK") if boot and start else 0.0
    return f"{_line(root, 'proc/sys/kernel/random/boot_id')} {start}".strip(), round(seconds)


def _line(root: Root, name: str) -> str:
    return (root.read_text(name) or "").strip()


def _os_release(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, value in pairs}


def _container(root: Root) -> str:
    """Return the kind of container, by the signs that each kind leaves; empty where there is none."""
    named = _line(root, "run/systemd/container")
    if named:
        return named
    for name, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if root.exists(name):
            return kind
    try:
        for entry in (root.read_bytes("proc/1/environ") or b"").split(b"\0"):
            if entry.startswith(b"container="):
                return entry[10:].decode("utf-8", "replace")
        groups = root.read_text("proc/1/cgroup") or ""
    except OSError:
        return ""  # another user's process; the signs above are what there is
    return next((kind for word, kind in CONTAINERS if f"/{word}" in groups), "")


def _first_netns(root: Root) -> bool | None:
    if not root.exists("proc/sys/net/core/somaxconn"):
        return None
    return root.exists("proc/sys/net/core/netdev_budget")


def _memory(meminfo: str) -> int:
    fields = next((line.split() for line in meminfo.splitlines() if line.startswith("MemTotal:")), [])
    return int(fields[1]) * 1024 if len(fields) > 1 else 0


def _modules(root: Root) -> list[str]:
    loaded = {line.partition(" ")[0] for line in (root.read_text("proc/modules") or "").splitlines()}
    builtin = root.read_text(f"lib/modules/{_line(root, 'proc/sys/kernel/osrelease')}/modules.builtin") or ""
    loaded |= {path.rpartition("/")[2].partition(".")[0].replace("-", "_") for path in builtin.split()}
    return [
        name
        for name, sign in MODULES.items()
        if name in loaded or root.exists("sys/module/" + name) or (sign and root.exists(sign))
    ]


def _processes(root: Root) -> list[tuple[str, str]]:
    """Return name and id of every process; one that ends meanwhile is left out."""
    found = []
    for pid in root.names("proc"):
        if pid.isdecimal():
            try:
                name = root.read_text(f"proc/{pid}/comm")
            except OSError:  # ended while it was read, or hidden from this user
                continue
            if name:
                found.append((name.rstrip("\n"), pid))
    return found


def _owners(root: Root, processes: list[tuple[str, str]], packages: bytes) -> list[Owner]:
    found: dict[str, Owner] = {}
    for name, pid in processes:
        writer = WRITERS.get(name)
        if writer and writer.owner not in found and _ours(root, pid):
            versions = (version(packages, package) for package in writer.packages)
            found[writer.owner] = Owner(
                writer.owner, f"process {pid} ({name})", next((v for v in versions if v is not None), "")
            )
    for owner, path in FILES:
        if owner not in found and root.exists(path):
            found[owner] = Owner(owner, f"file /{path}")
    if "ENABLED=yes" in (root.read_text("etc/ufw/ufw.conf") or "").replace('"', "").split():
        found["ufw"] = Owner("ufw", "ENABLED=yes in /etc/ufw/ufw.conf", version(packages, "ufw") or "")
    profile = _line(root, "etc/tuned/active_profile")
    if "tuned" in found and profile:
        found["tuned"].evidence += f", profile {profile}"
    return list(found.values())


def _ours(root: Root, pid: str) -> bool:
    """Tell whether a process is in our network namespace; yes where that may not be seen."""
    try:
        return os.stat(root.path(f"proc/{pid}/ns/net")).st_ino == os.stat(root.path("proc/self/ns/net")).st_ino
    except OSError:
        return True
