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
    },
}
ALL = {k: v for values in VALUES.values() for k, v in values.items()}
ENGINE = ("sysctl", "conntrack_timeouts", "rp_filter", "tcp_backlog")
"""Roles whose tasks are those of role sysctl."""

STATE = r"""
find /etc /usr/local -type f -exec sha256sum {} + | sed 's/^/sum /'
find /etc /usr/local -printf 'mode %m %u:%g %y %l %p\n'
find /proc/sys/net -type f ! -name 'nf_conntrack_count' ! -name '*_key' -exec grep -H '' {} + 2>/dev/null || :
ip -o link | sed 's/^[0-9]*: /link /; s/ state .*//; s/@if[0-9]*//'
nft list ruleset | sed 's/^/nft /'
for tool in iptables-legacy ip6tables-legacy; do
  $tool -t mangle -S | sed "s/^/$tool /"
done
"""
KEPT = "find /var/lib/hostaudit /var/log/hostaudit /etc/systemd/system 2>/dev/null | grep hostaudit || :"


@dataclass(frozen=True)
class Played:
    """What ansible-playbook said."""

    text: str
    failed: dict[str, int]
    """Host -> failed and unreachable."""
    changed: dict[str, list[str]] = field(default_factory=dict)
    """Host -> role of every task that reported a change; empty for a task of the playbook."""


def play(book: str, variables: dict[str, Any], *flags: str) -> Played:
    """Run a playbook of the collection on the lab's hosts."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    environment |= {
        "ANSIBLE_HOME": str(LAB / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_TIMEOUT": "30",  # a connection on a busy machine
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["ansible-playbook", "-i", str(LAB / "inventory.ini"), str(BOOKS / book), "-e", json.dumps(variables)]
    done = subprocess.run(
        [*command, *flags], check=False, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
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
    address = hosts.script(name, "ip -o -4 addr show eth0").split()[3]
    pve = f"/etc/pve/nodes/{name}"
    script = f"""
mkdir -p {pve} /etc/pve/priv/lock /etc/pve/firewall
echo 1 >/etc/pve/.version
echo '{{"cluster": {{"quorate": 1}}}}' >/etc/pve/.members
printf '[OPTIONS]\\n# by hand\\nnosmurfs: 0\\n\\n[RULES]\\nIN ACCEPT -p tcp -dport 22\\n' >{pve}/host.fw
chmod 600 {pve}/host.fw
sysctl -qw net.ipv4.conf.all.rp_filter=1
"""
    if name == "b11":
        script += "printf 'auto eth0\\niface eth0 inet manual\\n\\n# the end' >>/etc/network/interfaces\n"
        script += "iptables-legacy -A INPUT -p tcp --dport 1 -j DROP\n"
    if name == "b12":
        script += f"printf 'iface eth0 inet6 auto\\niface eth0 inet static\\n    address {address}\\n    mtu 1500\\n'"
        script += " >/etc/network/interfaces.d/eth0\n"
    if name == "b13":
        script += f"""
cd /etc/systemd/network
printf '[Match]\\nName=eth0\\n[Network]\\nAddress={address}\\nGateway=10.77.0.1\\n' >10-eth0.network
systemctl -q unmask systemd-networkd
systemctl -q start systemd-networkd
i=0
until grep -qs ADMIN_STATE=configured /run/systemd/netif/links/*; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done
"""
    hosts.script(name, script)
    if name != "b13":  # there the file is written, for want of pvesh
        hosts.script(
            name, f"cat >/usr/bin/pvesh <<'END'\n{(HERE / 'pvesh').read_text()}END\nchmod 755 /usr/bin/pvesh\n"
        )


@contextmanager
def furnished() -> Iterator[None]:
    """Start the three hosts."""
    shutil.rmtree(LAB / "ansible", ignore_errors=True)  # connections to earlier hosts that had the same addresses
    with hosts.up({name: hosts.Spec(f"boot:{suite}", groups=(suite,)) for name, suite in NAMES.items()}) as names:
        for name in names:
            furnish(name)
        yield
