"""A fault in another network namespace of a host: found when asked for, and said where."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import run_hostaudit, write_inventory
from labkit.hosts import Spec

# A router in a namespace: between two more, with the rule that drops INVALID, and a client whose SYN-ACKs the router
# never announced. Packets of that kind are made by sending a bare SYN-ACK through it.
ROUTER = """\
for n in blue left right; do ip netns add $n; ip -n $n link set lo up; done
ip -n blue link add west type veth peer name eth0 netns left
ip -n blue link add east type veth peer name eth0 netns right
ip -n blue addr add 192.0.2.1/28 dev west; ip -n blue addr add 192.0.2.17/28 dev east
ip -n left addr add 192.0.2.2/28 dev eth0; ip -n right addr add 192.0.2.18/28 dev eth0
for e in "blue west" "blue east" "left eth0" "right eth0"; do ip -n ${e% *} link set ${e#* } up; done
ip -n left route add default via 192.0.2.1; ip -n right route add default via 192.0.2.17
ip netns exec blue sysctl -qw net.ipv4.ip_forward=1
ip netns exec blue iptables-legacy -A FORWARD -m conntrack --ctstate INVALID -j DROP
"""
# SYN-ACKs out of nowhere, ten a second, for 20 s
NOWHERE = """\
import socket, struct, time
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    return ~(total % 65535) & 65535
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
here, there = socket.inet_aton('192.0.2.2'), socket.inet_aton('192.0.2.18')
for port in range(20000, 20200):
    tcp = struct.pack('!HHIIBBHHH', 80, port, 1, 1, 80, 18, 1024, 0, 0)
    sum_ = checksum(here + there + struct.pack('!HH', 6, len(tcp)) + tcp)
    s.sendto(tcp[:16] + struct.pack('!H', sum_) + tcp[18:], ('192.0.2.18', 0))
    time.sleep(0.1)
"""
# A listener in the namespace, whose process has all but a few of its descriptors open; and a search list of the host.
HOLDS = """\
import resource, socket, time
s = socket.create_server(('192.0.2.1', 7777))
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
held = [open('/dev/null') for _ in range(190)]
time.sleep(600)
"""
RESOLV = "nameserver 127.0.0.1\nsearch a.svc.local svc.local local\noptions ndots:5\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({"host": Spec("ns:bookworm")}):
        hosts.script("host", ROUTER)
        hosts.script("host", f"cat >/tmp/nowhere.py <<'END'\n{NOWHERE}\nEND\n")
        hosts.script("host", "setsid ip netns exec left python3 /tmp/nowhere.py </dev/null >/tmp/log 2>&1 &")
        yield write_inventory(tmp_path_factory.mktemp("netns") / "inventory.ini", ["host"])


def test_it_is_found_when_asked_for(source: Path) -> None:
    found = run_hostaudit(source, "--all-netns").failures("conntrack-invalid-drop")
    assert [(f["host"], f["netns"], f["grade"]) for f in found] == [("host", "netns blue", "active")]
    assert "ip netns exec blue" in found[0]["reproduce"] or "nsenter" in found[0]["reproduce"]


def test_it_is_not_looked_at_otherwise(source: Path) -> None:
    result = run_hostaudit(source)
    assert result.failures("conntrack-invalid-drop") == []
    assert {f.get("netns", "") for f in result.document["findings"]} <= {""}


def test_every_surface_of_a_namespace_is_its_own(source: Path, tmp_path: Path) -> None:
    hosts.script("host", f"cat >/tmp/holds.py <<'END'\n{HOLDS}END\n")
    hosts.script("host", "setsid ip netns exec blue python3 /tmp/holds.py </dev/null >/tmp/held 2>&1 & sleep 1")
    hosts.script("host", f"cat >/etc/resolv.conf <<'END'\n{RESOLV}END\n")
    saved = tmp_path / "answers.json"
    audit = run_hostaudit(source, "--all-netns", "--save", str(saved))
    (answer,) = json.loads(saved.read_text())["collected"]
    first = answer["snapshot"]
    blue, left = (inside(first, f"netns {name}") for name in ("blue", "left"))
    assert {device["name"] for device in blue["device"]["devices"]} == {"west", "east"}
    assert {device["name"] for device in left["device"]["devices"]} == {"eth0"}
    assert not {"west", "east"} & {device["name"] for device in first["device"]["devices"]}
    assert {"192.0.2.0/28", "192.0.2.16/28"} <= {route["destination"] for route in blue["route"]["routes"]}
    assert "192.0.2.16/28" not in {route["destination"] for route in first["route"]["routes"]}
    assert "192.0.2.2" in {n["address"] for n in blue["neighbour"]["entries"] if n["device"] == "west"}
    assert [listener["address"] for listener in blue["sockets"]["listeners"]] == ["192.0.2.1:7777"]
    heard = {listener["address"].rpartition(":")[2] for listener in first["sockets"]["listeners"]}
    assert "22" in heard
    assert "7777" not in heard
    assert [u for u in first["unread"] if u["netns"]] == [], "root reads all of it"
    for check in ("fd-exhaustion", "dns-ndots-search"):
        told = [(f["host"], f.get("netns", "")) for f in audit.failures(check)]
        assert told == [("host", "")], f"{check}: what belongs to the whole machine is told once"


def inside(snapshot: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [dict(space) for space in snapshot["namespaces"] if space["name"] == name]
    return found
