"""What `hostaudit paths` predicts, from data."""

from __future__ import annotations

import pytest

from hostaudit.model import Host
from hostaudit.trace.design import combinations, shares
from hostaudit.trace.fleet import Node
from hostaudit_agent.capture.answer import Capture
from hostaudit_agent.snapshot import (
    Conntrack,
    Firewall,
    Knob,
    Link,
    LinkTable,
    Neighbour,
    NeighbourTable,
    Rule,
    Snapshot,
    Sysctl,
)

VIP = "10.0.0.100"
PLACES = {"w1": "pve1", "w2": "pve2", "w3": "pve3"}


def rule() -> Rule:
    text = "-m conntrack --ctstate INVALID -j DROP"
    chain = ("iptables-legacy", "ip", "filter", "PVEFW-FORWARD")
    return Rule(*chain, 1, text, ["INVALID"], narrowed=False, verdict="drop", hooks=["forward"], packets=0)


def hypervisor(name: str, number: int, *, drops: bool, routes: bool = False) -> Node:
    snapshot = Snapshot(agent="0", taken=0.0, interval=0.0, privileged=True, conntrack=Conntrack(loaded=True))
    links = [
        Link("eno1", 1, 1500, "", True, master="vmbr0"),
        Link(f"tap10{number}i0", 2, 1500, "tun", True, master="vmbr0"),
    ]
    snapshot.link = LinkTable([*links, Link("vmbr0", 3, 1500, "bridge", up=True)])
    snapshot.sysctl = Sysctl({"net.ipv4.ip_forward": Knob(str(int(routes)))})
    snapshot.firewall = Firewall([rule()] if drops else [], [], {}, {"iptables": 1})
    mac = f"02:00:00:00:00:0{number}"
    if routes:
        snapshot.neighbour = NeighbourTable([Neighbour("10.0.0.2", f"tap10{number}i0", mac, "STALE")])
        return Node(Host(name), Capture(snapshot))
    return Node(Host(name), Capture(snapshot, fdb={mac: f"tap10{number}i0", "02:00:00:00:00:09": "eno1"}))


def worker(name: str, number: int, **variables: object) -> Node:
    snapshot = Snapshot(agent="0", taken=0.0, interval=0.0, privileged=True)
    snapshot.link = LinkTable([Link("ens18", 2, 1500, mac=f"02:00:00:00:00:0{number}")])
    return Node(Host(name, (), dict(variables)), Capture(snapshot))


def fleet(*drops: bool, forwarding: str = "dsr", routes: bool = False) -> list[Node]:
    declared = {"hostaudit_vips": {VIP: "w1"}, "hostaudit_backends": {VIP: "w1,w2,w3"}}
    nodes = [hypervisor(f"pve{n}", n, drops=one, routes=routes) for n, one in enumerate(drops, 1)]
    first = worker("w1", 1, **declared, hostaudit_forwarding=forwarding)
    return [*nodes, first, worker("w2", 2), worker("w3", 3)]


@pytest.mark.parametrize("routes", [False, True], ids=["bridged", "routed"])
@pytest.mark.parametrize(
    ("drops", "forwarding", "lost"),
    [
        ((False, False, False), "dsr", 0.0),
        ((True, True, True), "dsr", 0.667),
        ((False, True, False), "dsr", 0.333),
        ((True, False, False), "dsr", 0.667),
        ((False, True, True), "dsr-l2", 0.0),
        ((True, False, False), "dsr-l2", 0.667),
        ((True, True, True), "proxy", 0.0),
    ],
)
def test_the_share_that_fails(*, drops: tuple[bool, ...], forwarding: str, lost: float, routes: bool) -> None:
    row = shares(combinations(fleet(*drops, forwarding=forwarding, routes=routes), ()))[VIP]
    assert row["lost_today"] == lost
    assert row["asymmetric"] == (0.0 if forwarding == "proxy" else 0.667)


def test_how_it_fails_is_said() -> None:
    found = {one.backend: one for one in combinations(fleet(True, True, False), ())}
    assert found["w1"].lost_today == ""
    assert found["w2"].lost_today == "connect fails: pve2 drops the SYN-ACK (PVEFW-FORWARD)"
    assert found["w3"].lost_today == "connects, then hangs: pve1 drops the client's ACK (PVEFW-FORWARD)"


def test_half_a_plan_is_half_a_fix() -> None:
    nodes = fleet(True, True, True)
    everything = shares(combinations(nodes, (), frozenset({"pve1", "pve2", "pve3"})))[VIP]
    assert everything["lost_planned"] == 0.0
    half = shares(combinations(nodes, (), frozenset({"pve2", "pve3"})))[VIP]
    assert half["lost_planned"] == 0.667


def test_what_is_not_known_is_not_guessed() -> None:
    nodes = [node for node in fleet(True, True, True) if node.name != "pve3"]
    row = shares(combinations(nodes, ()))[VIP]
    assert row == {"asymmetric": None, "lost_today": None, "lost_planned": None}
    blind = fleet(False, False, False)
    assert blind[1].capture is not None
    blind[1].capture.snapshot.firewall = None
    assert shares(combinations(blind, ()))[VIP]["lost_today"] is None


def test_a_place_can_be_declared() -> None:
    nodes = fleet(True, True, True)
    nodes[-1] = worker("w3", 7, hostaudit_hypervisor="pve3")
    assert {one.backend: one.backend_at for one in combinations(nodes, ())} == PLACES
