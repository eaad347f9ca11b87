"""Hosts of the lab are what they claim to be: the other tests rest on it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, inventory
from labkit.hosts import Spec
from labkit.settings import LAB, LabError, sh

SYSTEMS = {"bullseye": "11", "bookworm": "12", "trixie": "13"}


@pytest.fixture(scope="module")
def names() -> Iterator[list[str]]:
    specs = {
        f"{kind[0]}-{suite}": Spec(f"{kind}:{suite}", groups=(kind,)) for kind in ("ns", "boot") for suite in SYSTEMS
    }
    with hosts.up(specs) as started:
        yield started


def ssh(name: str, command: str) -> str:
    """Log in with the lab's ssh_config, as its documentation says."""
    return sh("ssh", "-F", LAB / "ssh_config", "-o", "BatchMode=yes", name, command, timeout=60).stdout.strip()


def test_each_host_is_its_own_machine(names: list[str]) -> None:
    for name in names:
        system, hostname = ssh(name, ". /etc/os-release; echo $VERSION_ID; hostname").split()
        assert (system, hostname) == (SYSTEMS[name[2:]], name)


def test_network_sysctls_belong_to_the_host(names: list[str]) -> None:
    for number, name in enumerate(names, 30):
        ssh(name, f"sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_close_wait={number}")
    read = [int(ssh(n, "cat /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait")) for n in names]
    assert read == list(range(30, 30 + len(names)))


def test_boot_hosts_run_systemd_to_the_end(names: list[str]) -> None:
    for name in (n for n in names if n.startswith("b-")):
        assert ssh(name, "systemctl is-system-running --wait") == "running"


def test_a_reboot_applies_what_is_configured_and_forgets_the_rest(names: list[str]) -> None:
    name = next(n for n in names if n.startswith("b-"))
    ssh(name, "echo net.ipv4.tcp_retries2=9 >/etc/sysctl.d/50-lab.conf; sysctl -qw net.ipv4.tcp_fin_timeout=7")
    subprocess.run(["ssh", "-F", LAB / "ssh_config", name, "systemctl reboot"], check=False, capture_output=True)
    hosts.wait((LAB / name / "reboots").exists, 30, "it does not reboot")
    hosts.ready(name)
    assert ssh(name, "sysctl -n net.ipv4.tcp_retries2 net.ipv4.tcp_fin_timeout").split() == ["9", "60"]


def test_ansible_reads_the_inventory(names: list[str]) -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    listed = json.loads(sh(program, "-i", LAB / "inventory.ini", "--list", timeout=60).stdout)
    assert sorted(listed["boot"]["hosts"]) == sorted(n for n in names if n.startswith("b-"))
    variables = listed["_meta"]["hostvars"][names[0]]
    assert variables["ansible_host"] == inventory.load()[names[0]]["address"]
    assert str(LAB / "known_hosts") in variables["ansible_ssh_common_args"]


def test_a_disk_of_its_own_can_be_full() -> None:
    with hosts.up({"small": Spec("ns:bookworm", disk="1m")}):
        with pytest.raises(LabError, match="No space left on device"):
            hosts.script("small", "cat /dev/zero >/fill")
        assert ssh("small", "hostname") == "small"


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("x", "kvm:bookworm", "no such kind of host"),
        ("x", "boot:host", "no such kind of host"),
        ("x", "ns:sid", "no such suite"),
        ("a-name-too-long", "ns:bookworm", "1 to 12 characters"),
        ("n-bookworm", "ns:bookworm", "up already"),
    ],
)
@pytest.mark.usefixtures("names")
def test_a_host_that_cannot_be_is_refused_in_a_sentence(name: str, what: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        hosts.start(name, Spec(what))


def test_a_host_that_dies_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ns.sh").write_text("echo no disk found >&2; exit 1\n")
    monkeypatch.setattr(hosts, "SCRIPTS", tmp_path)
    with (
        pytest.raises(LabError, match="broken died while it started:\nno disk found"),
        hosts.up({"broken": Spec("ns:bookworm")}),
    ):
        pass
