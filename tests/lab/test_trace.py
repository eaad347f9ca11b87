"""Each way in which a connection can die, made on real hosts, and the verdict that `hostaudit trace` gives over SSH.

Every test asserts the verdict of each of its connections.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, tracenet
from labkit.outage import HYPERVISORS, PORT, WORKERS
from labkit.settings import sh
from labkit.tracenet import SHORT, N, Net, Traced

GRO = """
import array, fcntl, socket, struct, sys
value = array.array("B", struct.pack("=II", 0x2C, int(sys.argv[2])))  # ETHTOOL_SGRO
asked = struct.pack("16sP", sys.argv[1].encode(), value.buffer_info()[0])
fcntl.ioctl(socket.socket(), 0x8946, asked)  # SIOCETHTOOL
"""


@pytest.fixture
def net() -> Iterator[Net]:
    with tracenet.running() as running:
        yield running


@pytest.fixture
def routed() -> Iterator[Net]:
    with tracenet.running("route") as running:
        yield running


@pytest.fixture
def dropping(net: Net) -> Net:
    for name in HYPERVISORS:
        net.drop(name)
    return net


def nft(rule: str, family: str = "bridge", hook: str = "forward") -> str:
    """Return a ruleset for `nft -f -` with one rule."""
    lines = (f"add table {family} t", f"add chain {family} t c {{ type filter hook {hook} priority 0; }}")
    return "\n".join((*lines, f"add rule {family} t c {rule}", ""))


def on_switch(rule: str) -> None:
    sh("ip", "netns", "exec", "switch", "nft", "-f", "-", input=nft(rule))


# ---- connections that work


def test_what_works_is_told_apart_by_its_way(net: Net, tmp_path: Path) -> None:
    found = net.trace(tmp_path, *SHORT, "--pcap", str(tmp_path / "pcap"))
    assert found.code == 0
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"ok-asymmetric": N})
    assert {f.name for f in (tmp_path / "pcap").iterdir()} == {"h1.pcapng", "h2.pcapng"}
    assert all(h["status"] == "ok" and h["drops"] == 0 for h in found.document["hosts"])


def test_through_hypervisors_that_route(routed: Net, tmp_path: Path) -> None:
    found = routed.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"ok-asymmetric": N})


def test_a_segment_that_was_sent_again(net: Net, tmp_path: Path) -> None:
    first = "tcp flags & (syn | ack) == syn tcp sport != @seen add @seen { tcp sport } drop"
    seen = "add table bridge t\nadd set bridge t seen { type inet_service; flags dynamic; size 65535; }\n"
    hosts.run("h1", "nft", "-f", "-", input=seen + nft(f"tcp dport {PORT} {first}"))
    found = net.trace(tmp_path, *SHORT)
    assert found.code == 0
    assert found.verdicts() == Counter({"retransmit": 2 * N})
    assert "1 SYN lost in h1" in found.sentences()


@pytest.mark.parametrize("state", ["1", "0"], ids=["on", "off"])
def test_generic_receive_offload_changes_no_verdict(dropping: Net, tmp_path: Path, state: str) -> None:
    for name, number in zip(HYPERVISORS, (1, 2), strict=True):
        for port in ("eno1", f"tap10{number}i0"):
            sh("ip", "netns", "exec", name, "python3", "-c", GRO, port, state)
    found = dropping.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"dropped-in-host": N})


# ---- the outage


def test_the_syn_ack_that_a_hypervisor_drops(dropping: Net, tmp_path: Path) -> None:
    found = dropping.trace(tmp_path, *SHORT)
    assert found.code == 8
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"dropped-in-host": N})
    group = found.group("dropped-in-host")
    assert group["host"] == "h2"
    assert group["segment"] == "SYN-ACK"
    assert group["cause"]["proven"], group
    said = group["sentence"]
    for words in (
        "SYN entered h1 (eno1 -> port of guest 101)",
        "was handed to guest 102 on h2 in VXLAN",
        "its SYN-ACK entered h2 by tap102i0",
        "never left",
        "PVEFW-FORWARD",
        "10 of 10 odd ports; 10 of 10 even ports passed (symmetric)",
    ):
        assert words in said, said


def test_guests_that_listen_too_change_no_verdict(dropping: Net, tmp_path: Path) -> None:
    found = dropping.trace(tmp_path, *SHORT, names=(*HYPERVISORS, *WORKERS))
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"dropped-in-host": N})
    assert found.group("dropped-in-host")["host"] == "h2"


def ack_lost_in_h1(found: Traced) -> None:
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"ack-lost": N})
    group = found.group("ack-lost")
    assert (group["host"], group["segment"]) == ("h1", "ACK")
    assert group["cause"]["proven"], group


def test_half_a_fix_loses_the_clients_ack_in_the_other_hypervisor(dropping: Net, tmp_path: Path) -> None:
    dropping.allow("h2")
    found = dropping.trace(tmp_path, *SHORT)
    ack_lost_in_h1(found)


def test_direct_server_return_without_a_tunnel(dropping: Net, tmp_path: Path) -> None:
    """The backend's hypervisor sees both halves then, and the owner's only one: whatever the first one accepts."""
    hosts.script("w1", f"ip route replace {dropping.vip}/32 via 10.0.0.22 dev ens18 table 77")
    found = dropping.trace(tmp_path, *SHORT)
    ack_lost_in_h1(found)


def test_two_bridges_one_behind_the_other(dropping: Net, tmp_path: Path) -> None:
    for name, n in zip(HYPERVISORS, (101, 102), strict=True):
        lines = f"""ip link add fwbr{n}i0 type bridge
        ip link add fwln{n}i0 type veth peer name fwpr{n}p0
        ip link set tap{n}i0 master fwbr{n}i0
        ip link set fwln{n}i0 master fwbr{n}i0
        ip link set fwpr{n}p0 master vmbr0
        for l in fwbr{n}i0 fwln{n}i0 fwpr{n}p0; do ip link set $l up; done"""
        hosts.script(name, lines)
    found = dropping.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"dropped-in-host": N})
    assert found.group("dropped-in-host")["host"] == "h2"


# ---- not INVALID at all


def test_a_guest_that_does_not_answer(net: Net, tmp_path: Path) -> None:
    hosts.run("w1", "nft", "-f", "-", input=nft(f"tcp dport {PORT} drop", "ip", "input"))
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"no-syn-ack": N})
    assert found.verdicts(1) == Counter({"ok-asymmetric": N})
    assert "guest 101 on h1 was handed the SYN and never answered" in found.sentences()


def test_a_server_that_refuses(net: Net, tmp_path: Path) -> None:
    net.stop_serving()
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts() == Counter({"refused": 2 * N})
    assert {g["host"] for g in found.document["groups"]} == {"h1", "h2"}


def test_a_middlebox_that_refuses_in_the_servers_name(routed: Net, tmp_path: Path) -> None:
    rule = ("-I", "FORWARD", "-p", "tcp", "--dport", str(PORT), "-j", "REJECT", "--reject-with", "tcp-reset")
    hosts.run("h1", "iptables-legacy", *rule)
    found = routed.trace(tmp_path, *SHORT)
    assert found.verdicts() == Counter({"middlebox-reset": 2 * N})
    assert found.group("middlebox-reset")["host"] == "h1"


def test_a_syn_that_a_hypervisor_drops(net: Net, tmp_path: Path) -> None:
    hosts.run("h1", "iptables-legacy", "-I", "FORWARD", "-p", "tcp", "--syn", "--dport", str(PORT), "-j", "DROP")
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts() == Counter({"syn-dropped-in-host": 2 * N})
    assert found.group("syn-dropped-in-host")["host"] == "h1"


def test_a_syn_that_is_lost_before_the_hosts(net: Net, tmp_path: Path) -> None:
    on_switch(f"tcp dport {PORT} drop")
    assert net.trace(tmp_path, *SHORT).verdicts() == Counter({"syn-lost-before-fleet": 2 * N})


def test_a_syn_that_is_lost_between_two_hosts(net: Net, tmp_path: Path) -> None:
    net.handshakes(2)  # or w1 would wait for ARP in the tunnel, and never send what is to be lost
    on_switch("udp dport 8472 drop")
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"syn-lost-between-hosts": N})
    assert "left h1 by eno1 in VXLAN" in found.sentences()


def test_a_syn_ack_that_is_lost_behind_the_hosts(net: Net, tmp_path: Path) -> None:
    on_switch(f"tcp sport {PORT} drop")
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts() == Counter({"lost-after-fleet": 2 * N})
    assert "left h2 by eno1, and did not reach the client" in found.sentences()


def test_a_reply_from_another_address(net: Net, tmp_path: Path) -> None:
    change = f"ip saddr {net.vip} tcp sport {PORT} ip saddr set 10.0.0.21"
    hosts.run("w1", "nft", "-f", "-", input=nft(change, "ip", "postrouting"))
    found = net.trace(tmp_path, *SHORT)
    assert found.verdicts(0) == Counter({"reply-from-other-source": N})
    assert found.verdicts(1) == Counter({"ok-asymmetric": N})
    assert "10.0.0.21" in found.group("reply-from-other-source")["sentence"]


def test_ipv6(net: Net, tmp_path: Path) -> None:
    net.serve6()
    target = f"[{tracenet.VIP6}]:{PORT}"
    assert net.trace(tmp_path, *SHORT, target=target).verdicts() == Counter({"ok-symmetric": 2 * N})
    match = ("-p", "tcp", "--tcp-flags", "SYN,ACK", "SYN,ACK")
    hosts.run("h1", "ip6tables-legacy", "-I", "FORWARD", *match, "-j", "DROP")
    found = net.trace(tmp_path, *SHORT, target=target)
    assert found.verdicts() == Counter({"dropped-in-host": 2 * N})
    assert found.group("dropped-in-host")["host"] == "h1"


def test_from_a_host_of_the_inventory(net: Net, tmp_path: Path) -> None:
    hosts.script("h2", "ip addr add 10.0.0.2/24 dev vmbr0")
    found = net.trace(tmp_path, *SHORT, "--from", "h2")
    assert found.document["vantage"] == "h2"
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
    assert found.verdicts(1) == Counter({"ok-asymmetric": N})
