"""Tables of the whole kernel, which no namespace has for itself: conntrack's limit and hash, and the neighbours.

All three faults at once on one machine: each is named, and none is left once they are mended.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit
from labkit.settings import BRIDGE, NET, sh

from vm.changes import source

CHECKS = ("conntrack-max-overridden", "conntrack-hash-undersized", "neigh-table-overflow")
OPTIONS = ("--timeout", "120", "--run-timeout", "300", "--interval", "10")
OPTIONS += tuple(word for check in CHECKS for word in ("--only", check))
# kube-proxy sets the limit once, when it starts. In conf is what its ConfigMap says.
KUBE_PROXY = """\
cat >/usr/local/sbin/kube-proxy <<'END'
#!/bin/sh
sysctl -qw net.netfilter.nf_conntrack_max=$(cat /run/kube-proxy.conf)
while :; do sleep 3600; done
END
chmod 755 /usr/local/sbin/kube-proxy
"""
START = """\
[ ! -e /run/kube-proxy.pid ] || kill $(cat /run/kube-proxy.pid)
echo {size} >/run/kube-proxy.conf
setsid /usr/local/sbin/kube-proxy </dev/null >/dev/null 2>&1 & echo $! >/run/kube-proxy.pid
until [ "$(sysctl -n net.netfilter.nf_conntrack_max)" = {size} ]; do sleep 0.2; done
"""
# Datagrams to one address after the other of a network where nobody answers, as a scan makes them, or a flat network
# with more hosts than the table has room for. The way to whoever runs the tests is not in the same boat.
SCAN = """\
cat >/run/scan.py <<'END'
import errno, socket, time
s, refused, n = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, 0
s.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR: else UDP keeps ENOBUFS to itself (net/ipv4/udp.c, udp_send_skb)
while True:
    n += 1
    try:
        s.sendto(b"?", (f"10.98.{n >> 8 & 63}.{n & 127 | 128}", 9))
    except OSError as e:
        refused += e.errno == errno.ENOBUFS
    if n % 20 == 0:
        with open("/run/refused", "w") as f:
            f.write(str(refused))
        time.sleep(0.1)
END
setsid python3 /run/scan.py </dev/null >/dev/null 2>&1 & echo $! >/run/scan.pid
"""
KEYS = [f"net.ipv4.neigh.default.gc_thresh{n}" for n in (1, 2, 3)]
THRESHOLDS = f"sysctl -qw {' '.join(f'{key}={{}}' for key in KEYS)}\n"
FILE = "/etc/sysctl.d/90-big.conf"
HASH = "/sys/module/nf_conntrack/parameters/hashsize"


@dataclass
class Story:
    """What the machine had, and what hostaudit said of it."""

    audits: dict[str, Audit] = field(default_factory=dict)
    limit: dict[str, int] = field(default_factory=dict)
    refused: int = 0


@pytest.fixture(scope="module")
def story(machines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    name = machines[0]
    inventory = source(tmp_path_factory.mktemp("tables"), [name])
    (bridge,) = json.loads(sh("ip", "-j", "link", "show", BRIDGE).stdout)
    told = Story()
    before = hosts.run(name, "sysctl", "-n", *KEYS).split()
    try:
        hosts.script(name, "modprobe nf_conntrack; modprobe nf_conntrack_netlink\n" + KUBE_PROXY)
        hosts.script(name, f"echo net.netfilter.nf_conntrack_max=1048576 >{FILE}; sysctl -qp {FILE}")
        hosts.script(name, START.format(size=262144) + f"echo 16384 >{HASH}")
        hosts.script(
            name,
            f"ip neigh replace {NET}.1 lladdr {bridge['address']} dev eth0 nud permanent\n"
            "ip addr add 10.98.255.1/16 dev eth1; ip link set eth1 up\n" + THRESHOLDS.format(16, 32, 64) + SCAN,
        )
        hosts.wait(lambda: refused(name) > 0, 120, f"{name}: no datagram was refused")
        told.audits["broken"] = run_hostaudit(inventory, *OPTIONS, limit=600)
        told.limit["broken"], told.refused = limit(name), refused(name)

        hosts.script(name, START.format(size=1048576) + f"echo 262144 >{HASH}")
        hosts.script(name, "kill $(cat /run/scan.pid)\n" + THRESHOLDS.format(*before))
        told.audits["mended"] = run_hostaudit(inventory, *OPTIONS, limit=600)
        told.limit["mended"] = limit(name)
        yield told
    finally:  # the machine is as it was: whoever comes next may ask for one that never tracked a connection
        hosts.script(
            name,
            "for n in scan kube-proxy; do kill $(cat /run/$n.pid) || :; rm -f /run/$n.pid; done 2>/dev/null\n"
            f"rm -f {FILE} /usr/local/sbin/kube-proxy\n{THRESHOLDS.format(*before)}"
            f"ip neigh del {NET}.1 dev eth0 || :; ip addr del 10.98.255.1/16 dev eth1 || :; ip link set eth1 down\n"
            "modprobe -r nf_conntrack_netlink nf_conntrack || :",
        )


def refused(name: str) -> int:
    return int(hosts.script(name, "cat /run/refused 2>/dev/null || echo 0").strip() or 0)


def limit(name: str) -> int:
    return int(hosts.run(name, "sysctl", "-n", "net.netfilter.nf_conntrack_max"))


def one(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def test_the_table_of_neighbours_refuses_and_is_named_first(story: Story) -> None:
    found = story.audits["broken"].failures()[0]
    assert (found["check"], found["grade"], found["severity"]) == ("neigh-table-overflow", "active", "high")
    assert found["evidence"]["tables"]["arp_cache"]["refused"] > 0
    assert found["evidence"]["tables"]["arp_cache"]["limit"] == 64
    assert story.refused > 0, "the program was told, too"
    assert found["remedy"]["role"] == "neighbour_table"


def test_the_limit_that_its_owner_took_back(story: Story) -> None:
    assert story.limit["broken"] == 262144, "not what the file says"
    found = one(story.audits["broken"], "conntrack-max-overridden")
    assert found["summary"] == "sysctl.d asks for 1048576, kube-proxy keeps 262144"
    assert found["evidence"]["sysctl"]["at"] == f"{FILE}:1"
    assert found["remedy"] is None, "its ConfigMap is nobody's but its own"


def test_the_hash_that_did_not_grow_with_the_limit(story: Story) -> None:
    found = one(story.audits["broken"], "conntrack-hash-undersized")
    assert (found["grade"], found["evidence"]["entries_per_bucket"]) == ("risk", 16)


def test_none_is_left_once_they_are_mended(story: Story) -> None:
    assert story.limit["mended"] == 1048576
    assert story.audits["mended"].failures() == []
