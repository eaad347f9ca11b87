"""Faults of a node's plumbing, one on each host of one audit: named first there, and none is left once all are mended.

Every host has namespaces behind it, and a packet that has to get through: it does before the fault and after it, and
is lost in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.asking import ask, passing
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec
from labkit.scenes import PODS, ROUTER, SPLIT, SWITCH, TUNNEL

DROP = """\
nft 'table inet f { chain forward { type filter hook forward priority 0; ct state invalid counter drop; }; }'
"""
THROUGH = ask("10.6.0.2", "client")
SNAT = (
    "iptables-nft -t nat -F POSTROUTING\niptables-nft -t nat -A POSTROUTING -o wan -p udp -j SNAT --to-source 10.6.0.1"
)


@dataclass(frozen=True)
class Fault:
    """How a host is made, broken and mended; which packet tells; what hostaudit has to say."""

    check: str
    made: str
    broken: str
    mended: str
    packet: str
    told: tuple[str, str, str]
    """Grade, severity, and words of the summary."""
    role: str = ""
    """Of the remedy that is proposed; empty: none is."""
    load: str = ""
    """A command that runs in the background during the audit."""
    variables: dict[str, str] = field(default_factory=dict)


FAULTS = {
    "tunnel": Fault(
        "mtu-tunnel-overhead",
        TUNNEL,
        "ip link set d0 mtu 1400; ip -n far link set d0 mtu 1400",  # and the tunnel stays as it is
        "ip link set vx0 mtu 1350; ip -n far link set vx0 mtu 1350",
        # the kernel learns from the first packet that was lost; this one is always the first
        f"ip route flush cache; {ask('10.8.0.2', size=1400)}",
        ("risk", "medium", "vx0 has MTU 1450, d0 leaves 1350"),
        "link_mtu",
    ),
    "switch": Fault(
        "mtu-mismatch",
        SWITCH,
        "ip link set p2 mtu 1500",
        "ip link set p2 mtu 9000",
        ask("10.4.0.2", "g1", size=4000),
        ("risk", "medium", "port p2 has MTU 1500, its bridge br0 9000"),
    ),
    "lowered": Fault(  # the bridge was given no MTU, and takes the small port's
        "mtu-mismatch",
        SWITCH.replace("br0 mtu 9000 up", "br0 up"),
        "ip link set p2 mtu 1500",
        "ip link set p2 mtu 9000",
        ask("10.4.0.2", "g1", size=4000),
        ("risk", "medium", "guest port p1 has MTU 9000, p2 on the same bridge 1500"),
    ),
    "router": Fault(
        "ip-forward-disabled",
        ROUTER,
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        THROUGH,
        ("active", "high", "forwarding is off, and hostaudit_role=router needs it: "),
        "sysctl",
        ask("10.6.0.2", "client", times=600),
        {"hostaudit_role": "router"},
    ),
    "pods": Fault(
        "bridge-nf-call-off",
        PODS,
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        ask("10.96.0.10", "pod7"),
        ("risk", "medium", "bridge-nf-call-iptables is 0, and kube-proxy relies on it for cni0"),
        "sysctl",
    ),
    "byhand": Fault(
        "sysctl-drift",
        ROUTER + "echo net.ipv4.ip_forward=1 >/etc/sysctl.d/60-router.conf\n",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qp /etc/sysctl.d/60-router.conf",
        THROUGH,
        ("risk", "medium", "net.ipv4.ip_forward"),
    ),
    "oneport": Fault(
        "conntrack-insert-failed",
        ROUTER + SNAT,
        f"{SNAT}:5000-5000\n{THROUGH}",  # the first flow gets the only port, and keeps it
        SNAT,
        THROUGH,
        ("active", "medium", "new flows lost to a clash"),
        load=ask("10.6.0.2", "client", times=600),
    ),
}
EDGES = ("edge1", "edge2", "edge3")
EDGE_LOAD = ask("10.6.0.2", "client", kind="tcp", times=600)
PACKETS = {name: (name, fault.packet) for name, fault in FAULTS.items()}
PACKETS |= {name: (name, ask("10.6.0.2", "client", kind="tcp")) for name in EDGES}


@dataclass
class Story:
    """What was seen: which packets got through, and what hostaudit said."""

    passed: dict[str, dict[str, bool]] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)

    def look(self, moment: str, source: Path) -> None:
        self.passed[moment] = passing(PACKETS)
        loads = {name: fault.load for name, fault in FAULTS.items() if fault.load} | dict.fromkeys(EDGES, EDGE_LOAD)
        for name, load in loads.items():
            hosts.script(name, f"setsid {load} </dev/null >/dev/null 2>&1 &")
        self.audits[moment] = run_hostaudit(source)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    specs = {name: Spec("ns:bookworm", groups=(f"{name}s",)) for name in FAULTS}
    specs |= {name: Spec("ns:bookworm", groups=("edges",)) for name in EDGES}
    told = Story()
    with hosts.up(specs):
        source = tmp_path_factory.mktemp("plumbing") / "inventory.ini"
        write_inventory(source, specs, {name: fault.variables for name, fault in FAULTS.items()})
        for name in specs:
            hosts.script(name, FAULTS[name].made if name in FAULTS else SPLIT)
        told.passed["before"] = passing(PACKETS)
        for name, fault in FAULTS.items():
            hosts.script(name, fault.broken)
        hosts.script("edge2", DROP)
        told.look("broken", source)
        for name, fault in FAULTS.items():
            hosts.script(name, fault.mended)
        hosts.script("edge2", "nft delete table inet f")
        told.look("mended", source)
        yield told


def first(audit: Audit, host: str) -> dict[str, Any]:
    """Return the first failure of a host, in the order in which they are told."""
    found = [f for f in audit.failures() if host in (f.get("host"), *f.get("hosts", ()))]
    assert found, audit.document["findings"]
    return found[0]


def test_the_packets_are_really_lost(story: Story) -> None:
    everybody = [*FAULTS, *EDGES]
    assert story.passed["before"] == dict.fromkeys(everybody, True)
    assert story.passed["broken"] == dict.fromkeys(everybody, False) | {"edge1": True, "edge3": True}
    assert story.passed["mended"] == dict.fromkeys(everybody, True)


@pytest.mark.parametrize("host", FAULTS)
def test_the_fault_is_named_first(story: Story, host: str) -> None:
    fault, found = FAULTS[host], first(story.audits["broken"], host)
    assert (found["check"], found["grade"], found["severity"]) == (fault.check, *fault.told[:2])
    assert fault.told[2] in found["summary"]
    assert (found["remedy"] or {"role": ""})["role"] == fault.role


def test_the_one_of_three_that_drops_what_the_others_let_pass(story: Story) -> None:
    (mismatch,) = story.audits["broken"].failures("conntrack-invalid-policy-mismatch")
    assert (mismatch["hosts"], mismatch["grade"], mismatch["severity"]) == (["edge2"], "active", "high")
    assert mismatch["evidence"]["accept"] == ["edge1", "edge3"]
    (cause,) = [c for c in story.audits["broken"].document["causes"] if c["host"] == "edge2"]
    assert cause["check"] == "conntrack-invalid-drop", "its rule is the cause; that the others have none is below it"
    assert [one["check"] for one in cause["symptoms"]] == ["conntrack-invalid-policy-mismatch"]


def test_nothing_is_called_wrong_any_more(story: Story) -> None:
    assert story.audits["mended"].failures() == []
