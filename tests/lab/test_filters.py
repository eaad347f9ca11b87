"""Faults of packet filters other than INVALID, made for real: named while packets die, gone when they are mended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit import inventory as entries
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec
from labkit.narrow import BLOCKS, CLAMP, background, build, last, sends

NODES = ("node1", "node2", "node3", "node4", "node5")
# A node with one pod: what a bridge CNI and kube-proxy make, and flannel's rule, which the last node does not get. The
# pod opens connections to the outside, which knows no pod.
NODE = """\
ip link add cni0 type bridge
ip addr add 10.244.{n}.1/24 dev cni0
ip netns add pod
ip link add veth0 type veth peer name eth0 netns pod
ip link set veth0 master cni0
ip link set veth0 up
ip link set cni0 up
ip -n pod addr add 10.244.{n}.7/24 dev eth0
ip -n pod link set eth0 up
ip -n pod route add default via 10.244.{n}.1
sysctl -qw net.ipv4.ip_forward=1
{tool} -t nat -N KUBE-POSTROUTING
{tool} -t nat -A POSTROUTING -j KUBE-POSTROUTING
{tool} -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
{tool} -t nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully
"""
FLANNEL = """\
{tool} -t nat -N FLANNEL-POSTRTG
{tool} -t nat -A POSTROUTING -j FLANNEL-POSTRTG
{tool} -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
"""
CALL = """\
cat >/tmp/call.py <<'END'
import socket, sys, time
for attempt in range(1200):
    with socket.socket() as s:
        s.settimeout(0.5)
        try:
            s.connect((sys.argv[1], 22))
            print("open", flush=True)
        except OSError:
            print("lost", flush=True)
    time.sleep(0.1)  # or the five of them fill the listener's queue now and then
END
setsid ip netns exec pod python3 /tmp/call.py {outside} </dev/null >/tmp/said 2>/dev/null &
"""


def only(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


# ---- a node without MASQUERADE ----------------------------------------------------------------------------------


def test_the_one_new_node_without_masquerade(tmp_path: Path) -> None:
    specs = {name: Spec("ns:bookworm", groups=("nodes",)) for name in NODES} | {"outside": Spec("ns:bookworm")}
    with hosts.up(specs):
        inventory = write_inventory(tmp_path / "inventory.ini", NODES)
        outside = entries.load()["outside"]["address"]
        count = "nft add table ip t; nft 'add chain ip t in { type filter hook input priority 0; }'; "
        hosts.script("outside", count + "nft add rule ip t in ip saddr 10.244.0.0/16 counter")
        for n, name in enumerate(NODES, 1):
            tool = "iptables-legacy" if n in (2, 4) else "iptables-nft"
            rules = NODE + (FLANNEL if name != "node5" else "")
            hosts.script(name, rules.format(n=n, tool=tool) + CALL.format(outside=outside))
        finding = only(run_hostaudit(inventory), "pod-masquerade-missing")
        assert (finding["host"], finding["grade"], finding["severity"]) == ("node5", "active", "high")
        assert finding["evidence"]["nodes_that_have_it"] == dict.fromkeys(NODES[:4], "flannel")
        assert all(w.startswith("10.244.5.7:") and w.endswith(f"{outside}:22") for w in finding["evidence"]["waiting"])
        assert "packets 0 " not in hosts.script("outside", "nft list chain ip t in"), "they left with the pod's address"
        said = {name: hosts.script(name, "tail -n1 /tmp/said").strip() for name in NODES}
        assert said == {**dict.fromkeys(NODES[:4], "open"), "node5": "lost"}

        hosts.script("node5", FLANNEL.format(tool="iptables-nft") + "conntrack -F 2>/dev/null; sleep 1.5")
        assert run_hostaudit(inventory).failures("pod-masquerade-missing") == []
        assert hosts.script("node5", "tail -n1 /tmp/said").strip() == "open"


# ---- a black hole for large packets -----------------------------------------------------------------------------


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Path]:
    with hosts.up({"r1": Spec("ns:bookworm")}):
        build()
        yield write_inventory(tmp_path / "inventory.ini", ["r1"])


@pytest.mark.parametrize("backend", BLOCKS)
def test_a_filter_that_hides_a_small_mtu(router: Path, backend: str) -> None:
    hosts.script("r1", BLOCKS[backend][0])
    sends()
    audit = run_hostaudit(router, "--interval", "4")
    finding = only(audit, "icmp-frag-needed-blocked")
    assert audit.failures()[0]["check"] == "icmp-frag-needed-blocked", "named first"
    assert (finding["grade"], finding["severity"]) == ("active", "high")
    assert finding["evidence"]["refused_as_too_large"]["Ip.FragFails"] > 0
    (place,) = finding["evidence"]["dropped_by"]
    assert place["rule"].startswith(f"{backend} ip")
    assert place["delta"] > 0
    clamp = only(audit, "mss-clamp-missing")
    assert clamp["remedy"] == {"role": "mss_clamp", "vars": {"mss_clamp_interfaces": ["vx0"]}}
    assert "done" not in hosts.script("r1", "cat /tmp/sent"), "no transfer completed"

    hosts.script("r1", BLOCKS[backend][1])
    sends()
    mended = run_hostaudit(router)
    assert mended.failures("icmp-frag-needed-blocked") == []
    assert mended.failures("mss-clamp-missing") == []
    assert last() == "done"


@pytest.mark.long
def test_a_clamp_cures_it_while_icmp_stays_blocked(router: Path) -> None:
    hosts.script("r1", BLOCKS["iptables-nft"][0])
    hosts.script("r1", CLAMP.format(way="-o"))
    sends()
    half = only(run_hostaudit(router, "--interval", "4"), "mss-clamp-missing")
    assert half["grade"] == "active", "one way is half a clamp"
    hosts.script("r1", CLAMP.format(way="-i"))
    sends()
    audit = run_hostaudit(router)
    assert audit.failures("mss-clamp-missing") == []
    assert only(audit, "icmp-frag-needed-blocked")["grade"] == "risk", "nothing is lost by it now"
    assert last() == "done"


# ---- kube-proxy ---------------------------------------------------------------------------------------------------

STRAY = """\
import socket, struct, time
segment = struct.pack("!HHIIBBHHH", 8080, 20009, 1, 1, 5 << 4, 0x12, 1024, 0, 0)
ends = socket.inet_aton("10.7.0.2") + socket.inet_aton("10.6.0.2")
words = struct.unpack("!16H", ends + struct.pack("!HH", 6, 20) + segment)
total = sum(words)
total = (total & 0xFFFF) + (total >> 16)
segment = segment[:16] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + segment[18:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
    while True:
        s.sendto(segment, ("10.6.0.2", 0))
        time.sleep(0.2)
"""


def test_kube_proxy_drops_the_other_half(router: Path) -> None:
    rules = "iptables-nft -N KUBE-FORWARD; iptables-nft -A FORWARD -j KUBE-FORWARD; "
    hosts.script("r1", rules + "iptables-nft -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP")
    hosts.script(
        "r1", f"cat >/tmp/stray.py <<'END'\n{STRAY}END\n" + background("ip netns exec client python3 /tmp/stray.py")
    )
    audit = run_hostaudit(router)
    finding = only(audit, "kube-proxy-invalid-drop")
    assert (finding["grade"], finding["owner"]) == ("active", "kube-proxy")
    assert finding["evidence"]["rules"][0]["delta"] >= 3
    hosts.script("r1", "iptables-nft -F KUBE-FORWARD")
    assert run_hostaudit(router).failures("kube-proxy-invalid-drop") == []


SERVICE = """\
iptables-{v} -t nat -N KUBE-SVC-AAAAAAAAAAAAAAAA
iptables-{v} -t nat -N KUBE-SEP-AAAAAAAAAAAAAAAA
iptables-{v} -t nat -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j KUBE-SVC-AAAAAAAAAAAAAAAA
iptables-{v} -t nat -A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA
iptables-{v} -t nat -A KUBE-SEP-AAAAAAAAAAAAAAAA -p udp -j DNAT --to-destination 10.244.1.7:53
ip netns add client
ip link add out type veth peer name eth0 netns client
ip addr add 10.7.0.1/24 dev out; ip link set out up
ip -n client addr add 10.7.0.2/24 dev eth0; ip -n client link set eth0 up; ip -n client route add default via 10.7.0.1
cat >/tmp/ask.py <<'END'
import socket, time
old = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
old.bind(("10.7.0.2", 4000))
while True:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new:
        for s in (old, new):
            try:
                s.sendto(b"?", ("10.96.0.10", 53))
            except OSError:
                pass
    time.sleep(0.2)
END
"""


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_a_backend_that_is_gone(tmp_path: Path, variant: str) -> None:
    with hosts.up({"node": Spec("ns:bookworm")}):
        inventory = write_inventory(tmp_path / "inventory.ini", ["node"])
        hosts.script("node", NODE.format(n=1, tool=f"iptables-{variant}") + SERVICE.format(v=variant))
        hosts.script("node", background("ip netns exec client python3 /tmp/ask.py") + "sleep 1")
        audit = run_hostaudit(inventory)
        assert audit.failures("service-endpoint-stale") + audit.failures("conntrack-stale-dnat") == [], "the pod lives"

        hosts.script("node", "ip netns del pod; ip neigh flush dev cni0; sleep 4")
        audit = run_hostaudit(inventory)
        rule = only(audit, "service-endpoint-stale")
        assert (rule["grade"], rule["evidence"]["backends"][0]["address"]) == ("active", "10.244.1.7")
        assert rule["evidence"]["backends"][0]["rules"] == ["KUBE-SEP-AAAAAAAAAAAAAAAA"]
        flow = only(audit, "conntrack-stale-dnat")
        assert "udp 10.7.0.2:4000>10.96.0.10:53" in flow["evidence"]["backends"][0]["flows"]

        hosts.script("node", f"iptables-{variant} -t nat -F KUBE-SEP-AAAAAAAAAAAAAAAA")
        audit = run_hostaudit(inventory)
        assert audit.failures("service-endpoint-stale") == [], "the rule is gone"
        assert only(audit, "conntrack-stale-dnat")["grade"] == "active", "its entries are not"
        hosts.script("node", "conntrack -D --reply-src 10.244.1.7")
        assert run_hostaudit(inventory).failures("conntrack-stale-dnat") == []


# ---- the lock of iptables ----------------------------------------------------------------------------------------


def test_a_process_that_waits_for_the_lock_of_iptables(tmp_path: Path) -> None:
    with hosts.up({"node": Spec("ns:bookworm")}):
        inventory = write_inventory(tmp_path / "inventory.ini", ["node"])
        hosts.script("node", "iptables-legacy -A INPUT -j ACCEPT")
        assert run_hostaudit(inventory).failures("xtables-lock-contention") == []
        hold = "sh -c 'echo $$ >/tmp/holder; exec flock /run/xtables.lock sleep 600'"
        hosts.script(
            "node", background(hold) + "sleep 0.5\n" + background("iptables-legacy -w -A INPUT -j ACCEPT") + "sleep 0.5"
        )
        finding = only(run_hostaudit(inventory), "xtables-lock-contention")
        assert finding["grade"] == "active"
        assert finding["evidence"]["waited_throughout"][0].endswith("iptables-legacy"[:15])
        assert finding["evidence"]["rules"] == 1
        hosts.script("node", "pid=$(cat /tmp/holder); kill $pid $(cat /proc/$pid/task/*/children); sleep 0.5")
        assert run_hostaudit(inventory).failures("xtables-lock-contention") == []
        assert hosts.script("node", "iptables-legacy -S INPUT").count("-A INPUT") == 2, "whoever waited went on"
