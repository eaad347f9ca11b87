"""Packets lost at devices: each fault is made for real, named while packets die of it, and not named any more after.

The checks are nic-drops, nic-saturated, tcp-retransmit-high, tcp-retransmit-periodic and vxlan-tx-checksum-offload.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

CHECKS = ("nic-drops", "nic-saturated", "tcp-retransmit-high", "tcp-retransmit-periodic", "vxlan-tx-checksum-offload")
ONLY = tuple(word for check in CHECKS for word in ("--only", check))
# A second namespace inside the host, behind one veth of a megabyte a second: UDP to it fills the queue of that veth.
BEHIND = """
ip netns add far
ip link add d0 type veth peer name d1 netns far
ip addr add 198.51.100.1/24 dev d0
ip link set d0 up
ip -n far addr add 198.51.100.2/24 dev d1
ip -n far link set d1 up
ip -n far link set lo up
cat >/tmp/talk.py <<'PY'
import socket, sys, threading, time
def sink(s):
    while s.recv(65536):
        pass
if sys.argv[1] == "serve":
    with socket.create_server(("198.51.100.2", 5001), backlog=64) as listening:
        while True:
            threading.Thread(target=sink, args=(listening.accept()[0],), daemon=True).start()
elif sys.argv[1] == "tcp":
    with socket.create_connection(("198.51.100.2", 5001)) as s:
        while True:
            s.sendall(b"x" * 1000)
            time.sleep(0.0005)
elif sys.argv[1] == "beat":  # connections that nobody answers, at the start of every fifth second
    while True:
        time.sleep(5 - time.time() % 5)
        open_ = [socket.socket() for _ in range(60)]
        for s in open_:
            s.setblocking(False)
            s.connect_ex(("198.51.100.2", 9))
        time.sleep(1.6)
        for s in open_:
            s.close()
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        s.sendto(b"x" * 1000, ("198.51.100.2", 9))
        time.sleep(0.0003)
PY
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({"nic": Spec("ns:bookworm")}):
        hosts.script("nic", BEHIND)
        yield write_inventory(tmp_path_factory.mktemp("devices") / "inventory.ini", ["nic"])


@contextmanager
def running(*commands: str) -> Iterator[None]:
    """Run programs inside the host for as long as the block lasts."""
    try:
        for number, command in enumerate(commands):
            hosts.script("nic", f"setsid {command} </dev/null >/tmp/out{number} 2>&1 & echo $! >/tmp/pid{number}")
            time.sleep(0.5)
        yield
    finally:
        for number, _ in enumerate(commands):
            hosts.script("nic", f"kill $(cat /tmp/pid{number}) || :")


def one(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def quiet(source: Path) -> None:
    """Nothing is called wrong when the fault is gone, though its counters stand where it left them."""
    assert run_hostaudit(source, *ONLY).failures() == []


def test_a_queue_that_overflows(source: Path) -> None:
    hosts.script("nic", "tc qdisc add dev d0 root tbf rate 2mbit burst 10k limit 20k")
    with running("python3 /tmp/talk.py udp"):
        found = one(run_hostaudit(source, *ONLY), "nic-drops")
        shown = hosts.script("nic", "tc -s qdisc show dev d0")
    hosts.script("nic", "tc qdisc del dev d0 root")
    assert found["grade"] == "active"
    assert "the queue (tbf) of d0 dropped" in found["summary"]
    (loss,) = found["evidence"]["losses"]
    assert 0.5 < loss["share"] < 1
    assert loss["packets"] <= int(shown.partition("dropped ")[2].partition(",")[0]), "what tc counts"
    quiet(source)


def test_a_link_that_carries_what_it_can(source: Path) -> None:
    """The queue lets eight megabits a second through, and the inventory says that this is the uplink's speed."""
    told = source.with_name("told.ini")
    write_inventory(told, ["nic"], {"nic": {"hostaudit_link_speed": "d0=8"}})
    hosts.script("nic", "tc qdisc add dev d0 root tbf rate 8mbit burst 10k limit 20k")
    with running("python3 /tmp/talk.py udp"):
        audit = run_hostaudit(told, *ONLY)
    hosts.script("nic", "tc qdisc del dev d0 root")
    found = one(audit, "nic-saturated")
    assert (found["grade"], found["severity"]) == ("active", "high")
    assert 0.85 < found["evidence"]["used"]["d0"] < 1.1
    (cause,) = audit.document["causes"]
    assert (cause["check"], [one["check"] for one in cause["symptoms"]]) == ("nic-saturated", ["nic-drops"])
    assert run_hostaudit(told, *ONLY).failures() == []


def test_a_path_that_loses_every_tenth_packet(source: Path) -> None:
    hosts.script(
        "nic",
        "ip netns exec far nft add table inet loss\n"
        "ip netns exec far nft 'add chain inet loss in { type filter hook prerouting priority 0; }'\n"
        "ip netns exec far nft add rule inet loss in tcp dport 5001 numgen inc mod 10 0 drop\n",
    )
    with running("ip netns exec far python3 /tmp/talk.py serve", "python3 /tmp/talk.py tcp"):
        found = one(run_hostaudit(source, *ONLY), "tcp-retransmit-high")
        hosts.script("nic", "ip netns exec far nft delete table inet loss")
        time.sleep(3)  # what was lost is sent again
        quiet(source)
    assert (found["grade"], found["severity"]) == ("active", "high")
    assert found["evidence"]["again"] >= 20
    assert found["evidence"]["how"]["TCPSynRetrans"] * 2 < found["evidence"]["again"]


@pytest.mark.long
def test_losses_that_come_every_five_seconds(source: Path, tmp_path: Path) -> None:
    """Time is compressed: the policy asks for a period that nobody's jobs have; all else is as at night."""
    policy = tmp_path / "hostaudit.toml"
    policy.write_text("[checks.tcp-retransmit-periodic]\nshortest_seconds = 4\n")
    hosts.script(
        "nic",
        "mkdir -p /etc/systemd/system/timers.target.wants\n"
        "printf '[Timer]\\nOnCalendar=*:*:0/5\\n' >/etc/systemd/system/timers.target.wants/sync.timer\n"
        "ip netns exec far nft add table inet mute\n"
        "ip netns exec far nft 'add chain inet mute in { type filter hook prerouting priority 0; }'\n"
        "ip netns exec far nft add rule inet mute in tcp dport 9 drop\n",
    )
    with running("python3 /tmp/talk.py beat"):
        audit = run_hostaudit(source, *ONLY, "--policy", str(policy), "--interval", "60", limit=180)
    found = one(audit, "tcp-retransmit-periodic")
    assert found["grade"] == "active"
    assert found["evidence"]["period_seconds"] == pytest.approx(5, abs=0.2)
    assert [job["name"] for job in found["evidence"]["jobs"]] == ["sync.timer"]
    assert "sync.timer" in found["summary"]
    audit = run_hostaudit(source, *ONLY, "--policy", str(policy), "--interval", "60", "--show", "pass", limit=180)
    assert audit.failures() == []
    (passed,) = [f for f in audit.document["findings"] if f["check"] == "tcp-retransmit-periodic"]
    assert passed["status"] == "pass", passed


def test_a_bad_checksum_in_a_tunnel(source: Path) -> None:
    """A packet to the tunnel's port whose UDP checksum is wrong, as a sender with the fault makes it."""
    hosts.script(
        "nic",
        "ip link add vx0 type vxlan id 7 dev d0 remote 198.51.100.2 dstport 8472\nip link set vx0 up\n"
        "cat >/tmp/bad.py <<'PY'\n"
        "import socket, struct, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)\n"
        "body = struct.pack('!II', 0x08000000, 7 << 8) + bytes(40)\n"
        "while True:\n"
        "    s.sendto(struct.pack('!4H', 40000, 8472, 8 + len(body), 0x1234) + body, ('198.51.100.1', 0))\n"
        "    time.sleep(0.1)\n"
        "PY\n",
    )
    with running("ip netns exec far python3 /tmp/bad.py"):
        found = one(run_hostaudit(source, *ONLY), "vxlan-tx-checksum-offload")
    assert (found["grade"], found["severity"]) == ("active", "high")
    assert found["evidence"]["bad"]["delta"] >= 10
    assert found["evidence"]["computed_late"] == ["vx0"], "what the driver says, by ethtool's ioctl"
    quiet(source)
