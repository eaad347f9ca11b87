"""host.fw as its two readers take it, and which of them is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hostaudit_agent import proxmox
from hostaudit_agent.proxmox import fwfile
from hostaudit_agent.proxmox import node as nodes
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from hostaudit_agent.snapshot import Proxmox

KEY = "nf_conntrack_allow_invalid"
REFUSED = "refused"


@pytest.mark.parametrize(
    ("text", "perl", "rust"),
    [
        ("[OPTIONS]\n%k: 1\n", "1", "1"),
        ("[OPTIONS]\n%k:1", "1", "1"),
        ("[OPTIONS]\n%k:\t1\n", "1", "1"),
        ("[OPTIONS]\n   %k: 1   \n", "1", "1"),
        ("[options]\n%k: 0\n", "0", "0"),
        ("# a comment\n\n[OPTIONS]\n# another\n%k: 1\n", "1", "1"),
        ("[RULES]\nIN ACCEPT\n[OPTIONS]\n%k: 1\n", "1", "1"),
        ("[OPTIONS]\n%k: 1 # note\n", None, REFUSED),
        ("[OPTIONS]\n%k: yes\n", None, "1"),
        ("[OPTIONS]\n%k: true\n", None, "1"),
        ("[OPTIONS]\n%k: Off\n", None, "0"),
        ("[OPTIONS]\n%k = 1\n", None, REFUSED),
        ("[OPTIONS]\n%k : 1\n", None, "1"),
        ("[OPTIONS]\n%K: 1\n", "1", None),
        ("[OPTIONS]\n%k: 0\n%k: 1\n", "1", REFUSED),
        ("[OPTIONS]\r\n%k: 1\r\n", None, "1"),
        ("\ufeff[OPTIONS]\n%k: 1\n", None, REFUSED),
        ("[OPTIONS] # c\n%k: 1\n", None, REFUSED),
        ("%k: 1\n[OPTIONS]\n", None, REFUSED),
        ("[OPTIONS]\n[RULES]\n%k: 1\n", None, REFUSED),
        ("[OPTIONS]\n%k: 2\n", None, REFUSED),
        ('[OPTIONS]\n%k: "1"\n', None, REFUSED),
        ("[OPTIONS]\n[ALIASES]\n%k: 1\n", "1", REFUSED),
        ("[OPTIONS]\nunknown: 1\n%k: 1\n", "1", "1"),
        ("", None, None),
    ],
)
def test_one_line_two_readers(text: str, perl: str | None, rust: str | None) -> None:
    text = text.replace("%k", KEY).replace("%K", KEY.upper())
    first, second = fwfile.perl(text), fwfile.rust(text)
    assert first.options.get(KEY) == perl
    assert not first.refused
    assert second.refused is (rust == REFUSED)
    if rust != REFUSED:
        assert second.options.get(KEY) == rust
    if second.refused:
        assert second.options == {}


def test_other_options_and_what_is_ignored() -> None:
    text = """[OPTIONS]
NF_conntrack_max: 00300000
log_level_in: Warning
log_level_out:
nf_conntrack_helpers: ftp,SIP
tcp_flags_log_level: loud
nf_conntrack_tcp_timeout_established: 1h
nf_conntrack_helpers: ftp,
[RULES]
IN SSH(ACCEPT) -i vmbr0
ndp: 0
"""
    found = fwfile.perl(text)
    assert found.options == {
        "nf_conntrack_max": "300000",
        "log_level_in": "warning",
        "log_level_out": "",
        "nf_conntrack_helpers": "ftp,sip",
    }
    assert found.ignored == [
        (6, "tcp_flags_log_level: loud"),
        (7, "nf_conntrack_tcp_timeout_established: 1h"),
        (8, "nf_conntrack_helpers: ftp,"),
        (11, "ndp: 0"),
    ]


@pytest.mark.parametrize(
    ("text", "now", "on"),
    [
        ("[OPTIONS]\nenable: 1\n", 0.0, True),
        ("[OPTIONS]\nenable: 0\n", 0.0, False),
        ("[OPTIONS]\nEnable:1\n", 0.0, True),
        ("[OPTIONS]\nenable: 1700000000\n", 1700000030.0, True),
        ("[OPTIONS]\nenable: 1700000000\n", 1700000061.0, False),
        ("[OPTIONS]\nenable: yes\n", 0.0, False),
        ("[OPTIONS]\nenable: 1\nenable: 0\n", 0.0, False),
        ("[RULES]\nenable: 1\n", 0.0, False),
        ("[OPTIONS]\npolicy_in: DROP\n\n[group web]\nenable: 1\n", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_the_master_switch(text: str, now: float, on: bool) -> None:
    assert nodes.enabled(text, now) is on


class Node:
    """A tree of a Proxmox node that a test changes and then reads."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.unread: list[tuple[str, str]] = []
        self.packages: dict[str, str | None] = {}
        self.write("etc/pve/.version", "{}")
        self.write("etc/pve/.members", '{"nodename": "pve1", "version": 3}')
        self.write("etc/pve/nodes/pve1/host.fw", f"[OPTIONS]\n{KEY}: 1\n")
        self.write("etc/pve/firewall/cluster.fw", "[OPTIONS]\nenable: 1\n")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def read(self, *commands: str, version: str | None = "9.1.2") -> Proxmox:
        found = proxmox.read(
            Root(str(self.top)),
            {"pve-manager": version, **self.packages}.get,
            "pve1.example",
            commands,
            lambda part, why: self.unread.append((part, why)),
        )
        assert found is not None
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_iptables_firewall_is_live(node: Node) -> None:
    found = node.read("pve-firewall", "pvedaemon")
    assert (found.version, found.node, found.mounted, found.quorate) == ("9.1.2", "pve1", True, True)
    assert (found.cluster_enabled, found.implementation, found.running) == (True, "iptables", True)
    assert found.options == {KEY: "1"}
    assert found.options_file == "/etc/pve/nodes/pve1/host.fw"
    assert found.ignored == []
    assert node.unread == []
    assert node.read("pvedaemon").running is False


def test_the_nftables_firewall_is_live_only_where_it_may_run(node: Node) -> None:
    node.write("etc/pve/nodes/pve1/host.fw", f"[OPTIONS]\nnftables: 1\n{KEY}: yes\n")
    assert node.read("pve-firewall").implementation == "iptables"  # the program is not installed
    node.write("usr/libexec/proxmox/proxmox-firewall", "", 0o755)
    found = node.read("pve-firewall", "proxmox-firewal")
    assert (found.implementation, found.running, found.options[KEY]) == ("nftables", True, "1")
    node.write("run/proxmox-nftables-firewall-force-disable", "")
    found = node.read("pve-firewall")
    assert (found.implementation, found.running) == ("iptables", True)
    assert found.ignored == [f"/etc/pve/nodes/pve1/host.fw:3: {KEY}: yes"]


def test_a_file_that_is_refused_leaves_the_rules_as_they_were(node: Node) -> None:
    node.write("etc/pve/nodes/pve1/host.fw", f"[OPTIONS]\nnftables: 1\n{KEY}: 1 # for DSR\n")
    node.write("usr/libexec/proxmox/proxmox-firewall", "", 0o755)
    found = node.read("proxmox-firewal")
    assert found.options == {}
    assert found.ignored == [f"/etc/pve/nodes/pve1/host.fw:3: {KEY}: 1 # for DSR"]
    assert [part for part, _ in node.unread] == ["proxmox.options"]
    assert "line 3" in node.unread[0][1]


def test_off_by_switch_or_by_absence(node: Node) -> None:
    node.write("etc/pve/firewall/cluster.fw", "[OPTIONS]\nenable: 0\n")
    found = node.read("pve-firewall")
    assert (found.cluster_enabled, found.implementation, found.running) == (False, "off", None)
    assert found.options == {KEY: "1"}
    (node.top / "etc/pve/firewall/cluster.fw").unlink()
    found = node.read("pve-firewall")
    assert (found.cluster_enabled, found.implementation) == (None, "off")
    assert node.unread == []


def test_a_node_without_host_fw(node: Node) -> None:
    (node.top / "etc/pve/nodes/pve1/host.fw").unlink()
    found = node.read("pve-firewall")
    assert (found.options, found.implementation) == ({}, "iptables")


def test_quorum(node: Node) -> None:
    node.write("etc/pve/.members", '{"nodename": "pve1", "cluster": {"name": "c", "quorate": 0}}')
    assert node.read().quorate is False
    node.write("etc/pve/.members", '{"nodename": "pve1", "cluster": {"name": "c", "quorate": 1}}')
    assert node.read().quorate is True
    node.write("etc/pve/.members", "[]")
    assert node.read().quorate is None
    assert node.unread == [("proxmox.quorate", "/etc/pve/.members is not what pmxcfs writes")]


def test_pve_cluster_is_down(tmp_path: Path) -> None:
    (tmp_path / "etc/pve").mkdir(parents=True)
    unread: list[tuple[str, str]] = []
    found = proxmox.read(
        Root(str(tmp_path)), {"pve-manager": "8.4.1"}.get, "pve1", (), lambda part, why: unread.append((part, why))
    )
    assert found is not None
    assert (found.mounted, found.implementation, found.cluster_enabled) == (False, "", None)
    assert unread == [("proxmox", "/etc/pve is not mounted; is pve-cluster running?")]


def test_any_other_machine_is_not_one(tmp_path: Path) -> None:
    assert proxmox.read(Root(str(tmp_path)), {}.get, "web1", (), lambda _part, _why: None) is None
