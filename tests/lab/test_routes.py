"""Routes, neighbours and files that contradict each other, made for real: packets are eaten, and the cause is named.

``node`` has two ways in, eth0 (the network of the lab) and e1 (a network of its own, with ``client``).
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec
from labkit.settings import sh

NAMES = ("node", "client", "third")
VIP, POD, MOVED = "10.55.0.100", "10.66.1.9", "10.55.0.50"
NUMBERS = {"node": 1, "client": 2, "third": 3}
MAC = "02:55:00:00:00:0{n}"
# A second network, on a bridge of the world: e1 of each host.
PLUG = """\
ip link set e1 address {mac}
ip addr add 10.55.0.{n}/24 dev e1
ip link set e1 up
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.e1.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
"""
# What is behind the client: its packets come in on e1, and node has only its default route for the answer.
# It asks for node's MAC address with its own address of that network, as a router does: what the filter drops is not
# answered by ARP either.
STRANGE = """\
ip addr replace 203.0.113.9/32 dev lo
sysctl -qw net.ipv4.conf.e1.arp_announce=2
ip route replace 10.55.0.1 dev e1 src 203.0.113.9
"""
# Datagrams, five a second for 20 s; and whether a connection to an address works.
SEND = """
cat >/tmp/send.py <<'END'
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((sys.argv[2], 0))
    for _ in range(100):
        s.sendto(b"?", (sys.argv[1], 9))
        time.sleep(0.2)
END
setsid python3 /tmp/send.py {to} {source} </dev/null >/dev/null 2>&1 &
"""
WORKS = "timeout 5 bash -c '</dev/tcp/{to}/22'"
FAILS = "if timeout 2 bash -c '</dev/tcp/{to}/22' 2>/dev/null; then exit 1; fi"
COUNT_DNS = """\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
while True:
    data, sender = s.recvfrom(512)
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += data[at] + 1
    print(".".join(labels), flush=True)
    s.sendto(data[:2] + b"\\x81\\x83" + data[4:6] + bytes(6) + data[12 : at + 5], sender)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({name: Spec("ns:bookworm", groups=("nodes",)) for name in NAMES}):
        sh("ip", "link", "add", "routes0", "type", "bridge", "mcast_snooping", "0")
        sh("ip", "link", "set", "routes0", "up")
        try:
            for name, n in NUMBERS.items():
                pid = str(hosts.leader(name))
                sh("ip", "link", "add", f"rt{n}", "type", "veth", "peer", "name", "e1", "netns", pid)
                sh("ip", "link", "set", f"rt{n}", "master", "routes0", "up")
                hosts.script(name, PLUG.format(n=n, mac=MAC.format(n=n)))
            yield write_inventory(tmp_path_factory.mktemp("routes") / "inventory.ini", NAMES)
        finally:
            sh("ip", "link", "del", "routes0")


def audit(source: Path, check: str) -> Audit:
    return run_hostaudit(source, "--only", check)


def one(audit: Audit, check: str, host: str) -> dict[str, Any]:
    found = [f for f in audit.failures(check) if f["host"] == host]
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def test_nothing_is_wrong_before_a_fault_is_made(source: Path) -> None:
    for check in ("rp-filter-strict", "arp-cache-stale", "kube-proxy-strict-arp", "pod-cidr-overlap"):
        assert audit(source, check).failures() == []


def test_the_reverse_path_filter_eats_packets_and_the_pair_is_named(source: Path) -> None:
    hosts.script("client", STRANGE + SEND.format(source="203.0.113.9", to="10.55.0.1"))
    hosts.script("node", "ip route replace 203.0.113.0/24 dev eth0; sysctl -qw net.ipv4.conf.e1.rp_filter=1")
    found = one(audit(source, "rp-filter-strict"), "rp-filter-strict", "node")
    assert found["grade"] == "active"
    assert found["evidence"]["dropped"]["delta"] >= 3, "IPReversePathFilter while it was looked at"
    pairs = found["evidence"]["ways_back_that_differ"]
    assert ("203.0.113.9", "e1", "eth0") in {(p["source"], p["link"], p["back"]) for p in pairs}, pairs
    assert "203.0.113.0/24 dev eth0" in pairs[0]["route"]
    asked = f"({found['reproduce'].split(';')[0]}) 2>&1 || :"
    said = hosts.script("node", asked)
    assert "cross-device" in said or "Invalid argument" in said, f"the kernel refuses that pair, too: {said}"
    hosts.script("node", "sysctl -qw net.ipv4.conf.e1.rp_filter=0")
    said = hosts.script("node", asked)
    assert "local 10.55.0.1 from 203.0.113.9" in said, "and it is the filter for which it does"
    hosts.script("node", "sysctl -qw net.ipv4.conf.e1.rp_filter=1")


def test_and_is_quiet_once_the_way_back_is_the_same(source: Path) -> None:
    hosts.script("node", "ip route replace 203.0.113.0/24 dev e1")
    hosts.script("client", SEND.format(source="203.0.113.9", to="10.55.0.1"))
    time.sleep(1)
    found = one(audit(source, "rp-filter-strict"), "rp-filter-strict", "node")
    assert found["grade"] == "risk", "nothing is dropped; two ways in and a strict filter remain"
    assert found["evidence"]["dropped"]["total"] > 0, "what was dropped before does not count"
    hosts.script("node", "sysctl -qw net.ipv4.conf.e1.rp_filter=0; ip route del 203.0.113.0/24")
    hosts.script("client", "ip route del 10.55.0.1; ip addr del 203.0.113.9/32 dev lo")
    assert audit(source, "rp-filter-strict").failures() == []


def test_a_neighbour_that_moved_is_named_and_who_gets_its_packets(source: Path) -> None:
    """The address was node's and is third's; the client never heard of it."""
    hosts.script("third", f"ip addr add {MOVED}/24 dev e1")
    hosts.script("client", f"ip neigh replace {MOVED} lladdr {MAC.format(n=1)} dev e1 nud permanent")
    hosts.script("client", SEND.format(source="10.55.0.2", to=MOVED))
    found = one(audit(source, "arp-cache-stale"), "arp-cache-stale", "client")
    (row,) = found["evidence"]["stale"]
    assert (found["grade"], row["mac"], row["leads_to"]) == ("active", MAC.format(n=1), "node, e1")
    assert row["owner"] == f"third has {MAC.format(n=3)}"
    assert row["refused_there"] >= 3, "packets that node got and that are not its own"
    hosts.script("client", f"ip neigh del {MOVED} dev e1\n{WORKS.format(to=MOVED)}")
    assert audit(source, "arp-cache-stale").failures() == []
    hosts.script("third", f"ip addr del {MOVED}/24 dev e1")


def test_two_nodes_that_answer_arp_for_a_service_are_named(source: Path) -> None:
    """kube-ipvs0 is no dummy here, which not every kernel has; as there, it is never up."""
    for name in ("node", "third"):
        hosts.script(name, f"ip link add kube-ipvs0 type bridge; ip addr add {VIP}/32 dev kube-ipvs0")
    assert {f["grade"] for f in audit(source, "kube-proxy-strict-arp").failures()} == {"risk"}
    # Each of two clients that ask gets two answers, and keeps either of them: the second one is made to keep the other.
    hosts.script("client", f"{WORKS.format(to=VIP)} || :; ip neigh show {VIP} | grep -E '{MAC.format(n='[13]')}'")
    kept = 1 if MAC.format(n=1) in hosts.script("client", f"ip neigh show {VIP}") else 3
    asker, other = ("node", 3) if kept == 1 else ("third", 1)
    hosts.script(
        asker,
        f"ip addr del {VIP}/32 dev kube-ipvs0\n{WORKS.format(to=VIP)} || :\n"
        f"ip neigh show {VIP} | grep {MAC.format(n=other)}; ip addr add {VIP}/32 dev kube-ipvs0",
    )
    hosts.script("client", SEND.format(source="10.55.0.2", to=VIP))
    found = audit(source, "kube-proxy-strict-arp").failures()
    assert {(f["host"], f["grade"], f["severity"]) for f in found} == {
        ("node", "active", "high"),
        ("third", "active", "high"),
    }
    assert set(found[0]["evidence"]["answered_by"][VIP].values()) == {"node", "third"}
    for name in ("node", "third"):
        hosts.script(name, "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
    assert audit(source, "kube-proxy-strict-arp").failures() == []
    hosts.script(
        "client", f"ip neigh del {VIP} dev e1 || :\n{FAILS.format(to=VIP)}\n! ip neigh show {VIP} | grep lladdr"
    )
    for name in ("node", "third"):
        hosts.script(
            name, "ip link del kube-ipvs0; sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0"
        )


def test_a_machine_inside_the_pods_network_is_named(source: Path) -> None:
    hosts.script("third", f"ip addr add {POD}/24 dev e1")
    hosts.script("node", f"ip route add 10.66.1.0/24 via 10.55.0.3\n{WORKS.format(to=POD)}")
    assert audit(source, "pod-cidr-overlap").failures() == []
    hosts.script(
        "node",
        "ip link add cni0 type bridge; ip addr add 10.66.0.1/16 dev cni0\n"
        "ip link set cni0 up; ip route del 10.66.1.0/24",
    )
    hosts.script("node", FAILS.format(to=POD))
    found = one(audit(source, "pod-cidr-overlap"), "pod-cidr-overlap", "node")
    assert (found["grade"], found["severity"]) == ("risk", "high")
    assert found["evidence"]["taken"][POD]["is"] == "e1 of third"
    assert "10.66.0.0/16 dev cni0" in found["evidence"]["taken"][POD]["route"]
    hosts.script("node", f"ip route add {POD}/32 via 10.55.0.3\n{WORKS.format(to=POD)}")
    left = audit(source, "pod-cidr-overlap").failures()
    assert {f["severity"] for f in left} == {"medium"}, "the address works again, the network is still taken"
    hosts.script("node", "ip link del cni0")
    hosts.script("third", f"ip addr del {POD}/24 dev e1")
    assert audit(source, "pod-cidr-overlap").failures() == []


def test_a_search_list_costs_the_queries_that_are_named(source: Path) -> None:
    hosts.script("third", f"cat >/tmp/dns.py <<'END'\n{COUNT_DNS}END\n")
    hosts.script("third", "setsid python3 /tmp/dns.py </dev/null >>/tmp/asked 2>/tmp/wrong & sleep 1")
    told = "nameserver 127.0.0.1\nsearch a.svc.local svc.local local\noptions ndots:{n} timeout:2\n"

    def asked(ndots: int) -> int:
        hosts.script("third", f"printf '{told.format(n=ndots)}' >/etc/resolv.conf; : >/tmp/asked")
        hosts.script("third", "getent ahostsv4 api.example.com || :")
        names = hosts.script("third", "cat /tmp/asked").split()
        assert names[0] == ("api.example.com.a.svc.local" if ndots > 2 else "api.example.com"), names
        return len(names)

    assert asked(5) == 4
    found = one(audit(source, "dns-ndots-search"), "dns-ndots-search", "third")
    assert found["evidence"]["queries_for_a_name_with_two_dots"] == 4
    asked(1)
    assert audit(source, "dns-ndots-search").failures() == []
    hosts.script("third", "rm /etc/resolv.conf")


def test_hardening_that_breaks_cilium_names_both_files_and_the_drops(source: Path) -> None:
    hosts.script(
        "node",
        "printf 'net.ipv4.conf.all.rp_filter = 1\\n' >/etc/sysctl.d/60-cis.conf\n"
        "printf 'net.ipv4.conf.lxc*.rp_filter = 0\\nnet.ipv4.conf.cilium_host.rp_filter = 0\\n'"
        " >/etc/sysctl.d/99-zzz-override_cilium.conf\n"
        "ip link add cilium_host type veth peer name cilium_net; ip link set cilium_host up; ip link set cilium_net up",
    )
    found = one(audit(source, "hardening-contradiction"), "hardening-contradiction", "node")
    assert (found["grade"], found["severity"]) == ("risk", "medium"), "it comes with the next boot"
    assert "/etc/sysctl.d/60-cis.conf:1" in found["advice"]
    assert "/etc/sysctl.d/99-zzz-override_cilium.conf:2" in found["advice"]
    hosts.script("node", "sysctl -q -p /etc/sysctl.d/60-cis.conf; ip route replace 203.0.113.0/24 dev eth0")
    hosts.script("client", STRANGE + SEND.format(source="203.0.113.9", to="10.55.0.1"))
    result = run_hostaudit(source)
    found = one(result, "hardening-contradiction", "node")
    assert (found["grade"], found["severity"]) == ("active", "high")
    assert found["evidence"]["dropped"] >= 3
    hosts.script("node", "rm /etc/sysctl.d/60-cis.conf; sysctl -qw net.ipv4.conf.all.rp_filter=0")
    assert audit(source, "hardening-contradiction").failures() == []
