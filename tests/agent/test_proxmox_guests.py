"""Guests of a node from a tree: interfaces, filters, and what it costs to read fifty of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import proxmox
from hostaudit_agent.proxmox import guests, node
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from hostaudit_agent.snapshot import Proxmox

QEMU = """\
agent: 1
name: worker1
net1: e1000=BC:24:11:00:00:02,bridge=vmbr1,tag=20,mtu=1400,link_down=1
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,mtu=1,queues=4,trunks=20;30
#net9: virtio=BC:24:11:00:00:09,bridge=vmbr9

[before-upgrade]
name: old
net0: virtio=BC:24:11:00:00:99,bridge=vmbr9
"""
LXC = """\
hostname: dns1
net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:03,ip=10.0.0.53/24,ip6=auto,type=veth
net1: name=eth1,bridge=vmbr1,hwaddr=BC:24:11:00:00:04,ip=dhcp,ip6=2001:db8::53/64
"""
CLUSTER = """\
[OPTIONS]
enable: 1
[ALIASES]
vip 10.0.0.100
[group web]
IN HTTP(ACCEPT)
|IN ACCEPT -p udp
OUT ACCEPT
"""
FILTER = """\
[OPTIONS]
enable: 1
ipfilter: 1
policy_in: reject
[IPSET ipfilter-net0]
10.0.0.5 # own
dc/vip
!10.0.0.6
fe80::1/64
[RULES]
GROUP web # as everywhere
IN ACCEPT -p tcp -sport 8080 # the VIP answers
|IN ACCEPT
IN DROP
"""


class Tree:
    """A node's files, and what could not be read of them."""

    def __init__(self, top: Path) -> None:
        self.top, self.unread = top, list[tuple[str, str]]()
        self.write("etc/pve/.version", "{}")
        self.write("etc/pve/.members", '{"nodename": "pve1"}')
        self.write("etc/pve/firewall/cluster.fw", CLUSTER)

    def write(self, name: str, text: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self) -> Proxmox:
        found = proxmox.read(
            Root(str(self.top)),
            {"pve-manager": "9.1.2", "pve-firewall": "6.0.4"}.get,
            "pve1",
            ("pve-firewall",),
            lambda part, why: self.unread.append((part, why)),
        )
        assert found is not None
        return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_virtual_machine_above_its_first_snapshot() -> None:
    guest = guests.parse(QEMU, 101, "qemu")
    assert (guest.vmid, guest.kind, guest.name) == (101, "qemu", "worker1")
    first, second = guest.nics
    assert (first.index, first.mac, first.bridge, first.model) == (0, "bc:24:11:00:00:01", "vmbr0", "virtio")
    assert (first.firewall, first.mtu, first.trunks, first.tag, first.link_down) == (True, 1, "20;30", None, False)
    assert (second.index, second.model, second.tag, second.mtu, second.link_down) == (1, "e1000", 20, 1400, True)


@pytest.mark.parametrize(
    "text",
    ["virtio=BC:24:11:00:00:01,bridge=vmbr0", "bridge=vmbr0,model=virtio,macaddr=BC:24:11:00:00:01"],
)
def test_both_spellings_of_a_model(text: str) -> None:
    nic = guests.nic(0, text, "qemu")
    assert (nic.model, nic.mac, nic.bridge) == ("virtio", "bc:24:11:00:00:01", "vmbr0")


def test_a_container() -> None:
    guest = guests.parse(LXC, 200, "lxc", "hostname")
    assert guest.name == "dns1"
    assert [(n.mac, n.addresses) for n in guest.nics] == [
        ("bc:24:11:00:00:03", ["10.0.0.53/24"]),
        ("bc:24:11:00:00:04", ["2001:db8::53/64"]),
    ]


def test_a_guest_with_its_filter(tree: Tree) -> None:
    tree.write("etc/pve/nodes/pve1/qemu-server/101.conf", QEMU)
    tree.write("etc/pve/nodes/pve1/qemu-server/100.conf", "name: plain\n")
    tree.write("etc/pve/nodes/pve1/lxc/99.conf", LXC)
    tree.write("etc/pve/nodes/pve1/qemu-server/101.conf.tmp.9", "net0: junk")
    tree.write("etc/pve/nodes/pve2/qemu-server/300.conf", QEMU)
    tree.write("etc/pve/firewall/101.fw", FILTER)
    found = tree.read()
    assert tree.unread == []
    assert [(g.vmid, g.name) for g in found.guests] == [(99, "dns1"), (100, "plain"), (101, "worker1")]
    assert found.packages == {"pve-firewall": "6.0.4"}
    rules = found.guests[2].firewall
    assert rules is not None
    assert (rules.enabled, rules.policy_in, rules.policy_out, rules.ipfilter) == (True, "REJECT", "ACCEPT", True)
    assert rules.accepts == ["IN HTTP(ACCEPT)", "IN ACCEPT -p tcp -sport 8080"]
    assert found.guests[2].nics[0].ipfilter == ["10.0.0.5", "10.0.0.100", "! 10.0.0.6", "fe80::1/64"]
    assert found.guests[2].nics[1].ipfilter is None
    assert found.guests[0].firewall is None
    assert found.misread == []


def test_lines_of_a_guest_are_told_with_their_file(tree: Tree) -> None:
    tree.write("etc/pve/nodes/pve1/lxc/99.conf", LXC)
    tree.write("etc/pve/firewall/99.fw", "[OPTIONS]\nenable: 1 # on\n")
    tree.write("etc/pve/firewall/host.fw", "[OPTIONS]\n")
    found = tree.read()
    assert [(line.file, line.line, line.refuses) for line in found.misread] == [("/etc/pve/firewall/99.fw", 2, True)]
    assert found.misplaced == ["/etc/pve/firewall/host.fw"]


def test_what_waits_for_the_network(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    assert node.pending(root) is None
    network = tmp_path / "etc/network"
    network.mkdir(parents=True)
    now = "auto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.1/24\n\tmtu 1500\n\twpa-psk secret\n# comment\n"
    (network / "interfaces").write_text(now)
    (network / "interfaces.new").write_text(now.replace("# comment", "# another"))
    assert node.pending(root) == []
    (network / "interfaces.new").write_text(now.replace("1500", "9000").replace("secret", "other"))
    assert node.pending(root) == [
        "- vmbr0: mtu 1500",
        "- vmbr0: wpa-psk (not shown)",
        "+ vmbr0: mtu 9000",
        "+ vmbr0: wpa-psk (not shown)",
    ]


def test_fifty_guests_cost_little(tree: Tree, work: Any) -> None:
    for vmid in range(100, 150):
        tree.write(f"etc/pve/nodes/pve1/qemu-server/{vmid}.conf", QEMU * 4)
        tree.write(f"etc/pve/firewall/{vmid}.fw", FILTER)
    with work.counted():
        assert len(tree.read().guests) == 50
    assert work.calls < 50 * 3000
