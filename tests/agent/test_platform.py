"""What machine it is, from trees; and this one, from its kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import platform
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import Platform

STATUS = """\
Package: pve-manager
Status: install ok installed
Version: 9.1.2
Description: text
 Version: not this

Package: pve-firewall
Status: deinstall ok config-files
Version: 5.0

Package: tuned
Status: install ok installed
Version: 2.25-1"""


def write(top: Path, **texts: str) -> Root:
    for name, text in texts.items():
        path = top / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Root(str(top))


def read(root: Root) -> Platform:
    return platform.collect(root, None, lambda part, why: pytest.fail(f"{part}: {why}"))


def test_a_captured_debian(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        **{
            "etc__os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n# x=y\n',
            "sys__devices__system__cpu__online": "0-3,6,8-9\n",
        },
        proc__sys__kernel__hostname="web1\n",
        proc__sys__kernel__osrelease="6.1.0-9-amd64\n",
        proc__meminfo="MemTotal:       1024 kB\nMemFree: 1 kB\n",
        proc__uptime="12.50 3.00\n",
        proc__1__comm="systemd\n",
        proc__modules="nf_conntrack 1 0 - Live 0x0\nvxlan 1 0 - Live 0x0\n",
        proc__sys__net__core__somaxconn="4096\n",
        proc__sys__net__core__netdev_budget="300\n",
    )
    write(tmp_path, **{"lib__modules__6.1.0-9-amd64__modules.builtin": "kernel/net/netfilter/nf_tables.ko\n"})
    found = read(root)
    assert (found.os_id, found.os_version, found.os_name) == ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert (found.hostname, found.kernel, found.init) == ("web1", "6.1.0-9-amd64", "systemd")
    assert (found.cpus, found.memory, found.uptime) == (7, 1 << 20, 12.5)
    assert found.modules == ["nf_conntrack", "nf_tables", "vxlan"]
    assert (found.container, found.first_netns, found.proxmox, found.owners) == ("", True, None, [])
    assert found.arch == ""  # nothing in the tree tells, and this machine's own would be a guess


def test_an_empty_tree_is_not_an_error(tmp_path: Path) -> None:
    found = read(Root(str(tmp_path)))
    assert (found.hostname, found.cpus, found.first_netns) == ("", 0, None)


def test_versions_of_packages() -> None:
    status = b"\n" + STATUS.encode()
    assert platform.version(status, "pve-manager") == "9.1.2"
    assert platform.version(status, "tuned") == "2.25-1"
    assert platform.version(status, "pve-firewall") is None  # removed, its files are left
    assert platform.version(status, "pve") is None
    assert platform.version(b"\n", "tuned") is None


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("run__systemd__container", "lxc\n", "lxc"),
        ("_dot_dockerenv", "", "docker"),
        ("run___dot_containerenv", "", "podman"),
        ("proc__1__environ", "HOME=/\0container=lxc\0", "lxc"),
        ("proc__1__cgroup", "12:pids:/docker/0123\n", "docker"),
        ("proc__1__cgroup", "0::/kubepods.slice/x\n", "kubernetes"),
        ("proc__1__cgroup", "0::/init.scope\n", ""),
    ],
)
def test_containers(tmp_path: Path, name: str, text: str, kind: str) -> None:
    assert read(write(tmp_path, **{name: text})).container == kind


def test_owners_with_their_evidence(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__812__comm="kube-proxy\n",
        proc__813__comm="tuned\n",
        proc__814__comm="k3s-server\n",
        proc__815__comm="bash\n",
        etc__tuned__active_profile="network-latency\n",
        **{
            "etc__sysctl_dot_d__99-zzz-override_cilium.conf": "",
            "etc__ufw__ufw.conf": "# x\nENABLED=yes\n",
            "var__lib__dpkg__status": STATUS.replace("pve-manager", "ufw"),
        },
    )
    found = {owner.name: owner for owner in read(root).owners}
    assert sorted(found) == ["cilium", "kube-proxy", "tuned", "ufw"]
    assert found["kube-proxy"].evidence == "process 812 (kube-proxy)"
    assert (found["tuned"].evidence, found["tuned"].version) == (
        "process 813 (tuned), profile network-latency",
        "2.25-1",
    )
    assert found["cilium"].evidence == "file /etc/sysctl.d/99-zzz-override_cilium.conf"
    assert (found["ufw"].evidence, found["ufw"].version) == ("ENABLED=yes in /etc/ufw/ufw.conf", "9.1.2")


def test_ufw_that_is_off_owns_nothing(tmp_path: Path) -> None:
    assert read(write(tmp_path, **{"etc__ufw__ufw.conf": "ENABLED=no\n"})).owners == []


def test_a_proxmox_node(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__sys__kernel__hostname="pve1\n",
        proc__7__comm="pve-firewall\n",
        **{
            "var__lib__dpkg__status": STATUS,
            "etc__pve__.version": "{}",
            "etc__pve__firewall__cluster.fw": "[OPTIONS]\nenable: 1\n",
        },
    )
    found = read(root)
    assert found.proxmox is not None
    assert (found.proxmox.version, found.proxmox.running, found.proxmox.implementation) == ("9.1.2", True, "iptables")
    assert [(owner.name, owner.version) for owner in found.owners] == [("pve-firewall", "")]


def test_this_machine() -> None:
    found = platform.collect(Root(), None, lambda _part, _why: None)
    release = os.uname()
    assert (found.kernel, found.arch) == (release.release, release.machine)
    assert found.cpus >= len(os.sched_getaffinity(0))
    assert found.memory > 0
    assert found.uptime > 0


@pytest.mark.lab
def test_a_namespace_is_not_the_first(netns: Callable[[], Any]) -> None:
    with netns().entered():
        assert platform.collect(Root(), None, lambda _part, _why: None).first_netns is False


@pytest.mark.lab
def test_a_process_of_another_namespace_owns_nothing_here(netns: Callable[[], Any], tmp_path: Path) -> None:
    import shutil
    import subprocess

    sleeper = tmp_path / "kube-proxy"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", sleeper)
    space = netns()
    with subprocess.Popen(["ip", "netns", "exec", space.name, str(sleeper), "30"], stdout=subprocess.DEVNULL) as there:
        try:
            for _ in range(500):  # until ip(8) has become the sleeper
                if Path(f"/proc/{there.pid}/comm").read_text() == "kube-proxy\n":
                    break
            outside = [owner.name for owner in platform.collect(Root(), None, lambda _part, _why: None).owners]
            with space.entered():
                inside = [owner.name for owner in platform.collect(Root(), None, lambda _part, _why: None).owners]
        finally:
            there.kill()
    assert "kube-proxy" not in outside
    assert "kube-proxy" in inside
