"""Faults of Proxmox VE nodes, all at once on two of them: each is named, packets show it, and none is left once mended.

pve1 has guests behind its firewall; pve2 is a Proxmox VE 7, which has no proxmox-firewall.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts, proxmox, proxmox_mount
from labkit.asking import PROGRAMS, answers, ask, passing
from labkit.audit import Audit, run_hostaudit, write_inventory

NODES = {"pve1": "bookworm", "pve2": "bullseye"}
ALLOW = "nf_conntrack_allow_invalid: 1\n"
VIP, CLIENT = "10.0.0.100", "10.0.0.10"
# vmbr0 with the network of `lan` behind eno1, two virtual machines with firewall=1 and a container without. 102 has a
# second way to lan, by which its requests go: what comes back through the node is INVALID to it.
GUESTS = (
    PROGRAMS
    + """\
ip link add vmbr0 type bridge; ip link set vmbr0 up
plug() { # namespace, port, bridge, address
  ip netns add $1; ip -n $1 link set lo up
  ip link add $2 type veth peer name eth0 netns $1
  ip link set $2 master $3 up
  ip -n $1 addr add $4/24 dev eth0; ip -n $1 link set eth0 up
}
behind() { # VMID: the bridge of its own that an interface with firewall=1 is behind
  ip link add fwbr$1i0 type bridge; ip link set fwbr$1i0 up
  ip link add fwln$1i0 type veth peer name fwpr$1p0
  ip link set fwln$1i0 master fwbr$1i0 up; ip link set fwpr$1p0 master vmbr0 up
}
plug lan eno1 vmbr0 10.0.0.10
behind 101; plug web tap101i0 fwbr101i0 10.0.0.101
behind 102; plug client tap102i0 fwbr102i0 10.0.0.102
plug store veth103i0 vmbr0 10.0.0.103
for n in 1:web 2:client 3:store; do ip -n ${n#*:} link set eth0 address bc:24:11:00:01:0${n%:*}; done
ip link set veth103i0 mtu 9000; ip -n store link set eth0 mtu 9000
ip -n web addr add 10.0.0.100/32 dev lo
ip -n lan link add direct type veth peer name direct netns client
ip -n lan addr add 10.5.0.1/24 dev direct; ip -n lan link set direct up
ip -n client addr add 10.5.0.2/24 dev direct; ip -n client link set direct up
ip -n lan addr add 10.9.9.9/32 dev lo
ip -n client route add 10.9.9.9/32 via 10.5.0.1 src 10.0.0.102
"""
    + answers("0.0.0.0", "lan")
)
SET = "[IPSET ipfilter-net0]\n10.0.0.101\n"
WEB, CLIENT_FW = "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n", "[OPTIONS]\nenable: 1\n"
RULES = "[RULES]\nIN ACCEPT -source 10.9.9.9 -p tcp -sport 80\nIN ACCEPT -source 10.0.0.100 -p tcp -sport 80\n"
CONF = {
    101: "name: web\nnet0: virtio=BC:24:11:00:01:01,bridge=vmbr0,firewall=1\n",
    102: "name: client\nnet0: virtio=BC:24:11:00:01:02,bridge=vmbr0,firewall=1\n",
}
STORE = "hostname: store\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:01:03,type=veth{mtu}\n"
INTERFACES = "auto vmbr0\niface vmbr0 inet static\n    address 10.0.0.1/24\n    bridge-ports eno1\n    mtu {mtu}\n"
PACKETS = {
    "the VIP of 101": ask(CLIENT, "web", source=VIP),
    "101 itself": ask(CLIENT, "web"),
    "the answer to 102 that comes the other way": ask("10.9.9.9", "client", kind="tcp"),
    "a large one of 103": ask(CLIENT, "store", size=4000),
    "a small one of 103": ask(CLIENT, "store"),
}
LOST = [name for name in PACKETS if name not in ("101 itself", "a small one of 103")]
BROKEN = {
    ("pve1", "pve-ipfilter-drops-vip"): "ipfilter of VM 101 (web) net0 drops 10.0.0.100",
    ("pve1", "pve-guest-drops-invalid"): "VM 102 (client) net0 drops INVALID that comes in",
    ("pve1", "pve-nic-mtu"): "CT 103 (store) net0 has mtu=9000, vmbr0 has 1500",
    # the same, as it runs: eno1 is a veth here, as a guest's port would be
    ("pve1", "mtu-mismatch"): "guest port veth103i0 has MTU 9000, eno1 on the same bridge 1500",
    ("pve1", "pve-network-pending"): "interfaces.new waits: 2 lines would change at the next boot",
    ("pve2", "pve-cluster-quorum"): "the cluster has no quorum: /etc/pve is read-only",
    ("pve2", "pve-option-ineffective"): "host.fw asks for nftables, proxmox-firewall is not installed",
}


@dataclass
class Story:
    """Which packets got through, whether pve2 can be changed, and what hostaudit said."""

    passed: dict[str, dict[str, bool]] = field(default_factory=dict)
    writable: dict[str, bool] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)

    def look(self, moment: str, source: Path) -> None:
        self.passed[moment] = passing({name: ("pve1", packet) for name, packet in PACKETS.items()})
        touch = hosts.inside("pve2", "touch", "/etc/pve/firewall/x")
        self.writable[moment] = subprocess.run(touch, check=False, capture_output=True).returncode == 0
        self.audits[moment] = run_hostaudit(source)


def fw(vmid: int, text: str) -> None:
    proxmox.write("pve1", text, f"/etc/pve/firewall/{vmid}.fw")


def store(mtu: str) -> None:
    proxmox.write("pve1", STORE.format(mtu=mtu), "/etc/pve/nodes/pve1/lxc/103.conf")


def network(name: str, mtu: int) -> None:
    hosts.run("pve1", "sh", "-c", f"cat >/etc/network/{name}", input=INTERFACES.format(mtu=mtu))


def live(*rules: str) -> None:
    """Wait until the firewall of pve1 has made these rules."""
    saved = ("pve1", "iptables-legacy-save", "-t", "filter")
    hosts.wait(lambda: set(rules) <= set(hosts.run(*saved).splitlines()), proxmox.PATIENCE, f"pve1: not all of {rules}")


def broken() -> None:
    hosts.script("pve1", GUESTS)
    for vmid, text in CONF.items():
        proxmox.write("pve1", text, f"/etc/pve/nodes/pve1/qemu-server/{vmid}.conf")
    fw(101, WEB + SET)
    fw(102, CLIENT_FW)
    store(",mtu=9000")
    network("interfaces", 1500)
    network("interfaces.new", 9000)
    proxmox.write("pve2", f"[OPTIONS]\n{ALLOW}nftables: 1\n")
    proxmox_mount.quorum("pve2", lost=True)


def mended() -> None:
    proxmox_mount.quorum("pve2", lost=False)
    proxmox.write("pve2", f"[OPTIONS]\n{ALLOW}nftables: 0\n")
    fw(101, f"{WEB}{SET}{VIP}\n")
    fw(102, CLIENT_FW + RULES)
    store("")
    hosts.script("pve1", "ip link set veth103i0 mtu 1500; ip -n store link set eth0 mtu 1500")
    hosts.script("pve1", "mv /etc/network/interfaces.new /etc/network/interfaces")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    told = Story()
    with hosts.up({name: hosts.Spec(f"boot:{suite}+pve", groups=("hypervisors",)) for name, suite in NODES.items()}):
        proxmox.write("pve1", "[OPTIONS]\nenable: 1\n", "/etc/pve/firewall/cluster.fw")
        for name in NODES:
            proxmox.write(name, f"[OPTIONS]\n{ALLOW}")
            proxmox.period(name, 1)
        variables = {"hostaudit_asymmetric": "DSR: answers come through the node"}
        variables |= {"hostaudit_vips": "{'10.0.0.100': 'web', '10.9.9.9': 'lan'}"}
        source = tmp_path_factory.mktemp("pve") / "inventory.ini"
        write_inventory(source, NODES, dict.fromkeys(NODES, variables))
        broken()
        live(
            "-A tap101i0-OUT -m set ! --match-set PVEFW-101-ipfilter-net0-v4 src -j DROP",
            "-A tap102i0-IN -j PVEFW-Drop",
        )
        told.look("broken", source)
        mended()
        live("-A tap102i0-IN -s 10.9.9.9/32 -p tcp -m tcp --sport 80 -j ACCEPT")
        told.look("mended", source)
        yield told


def found(audit: Audit) -> dict[tuple[str, str], dict[str, Any]]:
    return {(f.get("host", ""), f["check"]): f for f in audit.failures()}


def test_the_faults_are_real(story: Story) -> None:
    assert story.passed["broken"] == {name: name not in LOST for name in PACKETS}
    assert story.writable["broken"] is False
    assert story.passed["mended"] == dict.fromkeys(PACKETS, True)
    assert story.writable["mended"] is True


def test_each_is_named_and_nothing_else_is(story: Story) -> None:
    assert {key: f["summary"] for key, f in found(story.audits["broken"]).items()} == BROKEN


def test_nothing_is_left_once_they_are_mended(story: Story) -> None:
    assert story.audits["mended"].failures() == []
