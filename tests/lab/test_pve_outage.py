"""The outage on a cluster of three Proxmox VE nodes, with real packets: found, planned, changed, verified, taken back.

h1 and h2 carry one half of the traffic each; h3 carries none, but a guest may move there tomorrow. Its host.fw was
written by hand and by several hands.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts, outage, proxmox, proxmox_mount
from labkit.audit import run_hostaudit, write_inventory
from labkit.firewall import INVALID
from labkit.outage import Outage
from labkit.plans import command

N = 8
NODES = ("h1", "h2", "h3")
SUITES = {"h1": "trixie", "h2": "bookworm", "h3": "bullseye"}
EVEN_OK = Counter({"ok via w1": N})
CURED = {"even": EVEN_OK, "odd": Counter({"ok via w2": N})}
FAILING = {"even": EVEN_OK, "odd": Counter({"no answer to the SYN": N})}
KEY = "nf_conntrack_allow_invalid"
MESSY = f"# by hand\n[OPTIONS]\n{KEY}: yes\ntcpflags: 1\r\nndp: 0\nndp: 1\n\n[RULES]\nIN ACCEPT -p tcp -dport 22\n"
"""A comment, a value that one parser ignores, a CRLF line, and an option twice."""
GUESTS = {"h1": (101, "w1"), "h2": (102, "w2")}
WHY = "DSR: w2 answers for the load balancer on w1"
QUICK = ("--verify-seconds", "1", "--confirm-timeout", "90", "--watch", "2", "--reason", "test")


@dataclass
class Story:
    """The running outage and a place for plans and the journal."""

    net: Outage
    directory: Path

    def hostaudit(self, *words: str, code: int = 0) -> str:
        line, environment = command(self.directory / "journal.db", *words)
        done = subprocess.run(
            line, check=False, cwd=self.directory, env=environment | {"COLUMNS": "200"}, stdin=subprocess.DEVNULL,
            timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def plan(self, name: str = "plan.json") -> dict[str, Any]:
        self.hostaudit("plan", "-i", "nodes.ini", "-o", name, "--interval", "1")
        document: dict[str, Any] = json.loads((self.directory / name).read_text())
        return document


def as_before(before: dict[str, tuple[str | None, list[str]]]) -> None:
    hosts.wait(lambda: proxmox.states(NODES) == before, 40, "the nodes are not as before")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    specs = {name: hosts.Spec(f"boot:{SUITES[name]}+pve", groups=("hypervisors",)) for name in NODES}
    node = proxmox.Node({"h3": MESSY}, guests=GUESTS)
    with outage.running("bridge", node, hypervisors=specs) as net:
        directory = tmp_path_factory.mktemp("pve")
        hosts.script("h3", "ip link add vmbr0 type bridge; ip link set vmbr0 up")
        for port in ("eno1", "tap103i0"):
            hosts.script("h3", f"ip link add {port} type veth peer name {port}x; ip link set {port} master vmbr0 up")
        node.install("h3")
        # pvesh would lose what is wrong in the file of h3: it is written as a file there
        variables = {name: {"hostaudit_asymmetric": WHY} for name in NODES}
        variables["h3"] |= {"pve_firewall_method": "file"}
        write_inventory(directory / "nodes.ini", NODES, variables)
        yield Story(net, directory)


def test_the_cause_is_named_on_every_node_and_so_is_the_guest(story: Story) -> None:
    assert story.net.handshakes(N) == FAILING
    with story.net.keep_trying(30):
        audit = run_hostaudit(story.directory / "nodes.ini")
    found = {f["host"]: f for f in audit.failures("conntrack-invalid-drop")}
    assert {name: found[name]["grade"] for name in NODES} == {"h1": "risk", "h2": "active", "h3": "risk"}
    assert "w2" in json.dumps(found["h2"]["evidence"]), "the guest whose packets are dropped, by its name"
    assert "102" in json.dumps(found["h2"]["evidence"])


def test_each_bad_line_of_a_host_fw_is_a_finding(story: Story) -> None:
    audit = run_hostaudit(story.directory / "nodes.ini", "-l", "h3")
    told = json.dumps([f for f in audit.failures("pve-option-ignored") if f["host"] == "h3"])
    assert f"{KEY}: yes" in told
    assert "ndp" in told, "nftables mode loads nothing where an option stands twice"


def test_one_node_without_quorum_and_nothing_changes_anywhere(story: Story) -> None:
    before = proxmox.states(NODES)
    story.plan()
    proxmox_mount.quorum("h3", lost=True)
    try:
        told = story.hostaudit("apply", "plan.json", "-i", "nodes.ini", *QUICK, code=8)
    finally:
        proxmox_mount.quorum("h3", lost=False)
    assert "quorum" in told
    as_before(before)
    assert [proxmox.kept(name) for name in NODES] == [[], [], []]


def test_three_nodes_are_cured_together_and_taken_back_to_the_byte(story: Story) -> None:
    before = proxmox.states(NODES)
    assert [rules.count(INVALID) for _, rules in before.values()] == [2, 2, 2]
    planned = story.plan()["changes"]
    assert [(c["host"], c["role"]) for c in planned] == [(name, "pve_firewall") for name in NODES]
    with story.net.keep_trying(120):
        story.hostaudit("apply", "plan.json", "-i", "nodes.ini", *QUICK)
    assert story.net.handshakes(N) == CURED
    after = proxmox.states(NODES)
    assert [rules.count(INVALID) for _, rules in after.values()] == [0, 0, 0]
    assert after["h3"][0] == MESSY.replace(f"{KEY}: yes\n", "").replace("[OPTIONS]\n", f"[OPTIONS]\n{KEY}: 1\n")
    assert story.plan("again.json")["changes"] == []

    entries = [json.loads(line) for line in story.hostaudit("log", "--format", "json").splitlines() if line[:1] == "{"]
    change = next(e["change"] for e in reversed(entries) if e["kind"] == "change-begin")
    story.hostaudit("rollback", change, "-i", "nodes.ini", *QUICK[:4])
    as_before(before)
    assert proxmox.read("h3") == MESSY
    assert story.net.handshakes(N) == FAILING
