"""Faults of sockets, made for real: each is named with the process and the peer, and gone when the fault is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

FAULTS = (Path(__file__).parent / "labkit/sh/socket_faults.py").read_text()
TRACKING = """\
nft add table inet t
nft 'add chain inet t out { type filter hook output priority 0; }'
nft add rule inet t out ct state new counter
sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=600
"""
END = "python3 -c 'import os; os.killpg(int(open(\"/tmp/fault.pid\").read()), 9)'"
SEND = 'python3 -c \'import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))\''


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({"web": Spec("ns:bookworm")}):
        hosts.script("web", f"cat >/tmp/faults.py <<'END'\n{FAULTS}END\n")
        yield write_inventory(tmp_path_factory.mktemp("sockets") / "inventory.ini", ["web"])


@contextmanager
def fault(name: str, *arguments: str) -> Iterator[None]:
    """Let the host have a fault."""
    more = " ".join(arguments)
    hosts.script("web", "rm -f /tmp/fault.*")
    hosts.script("web", f"setsid python3 /tmp/faults.py {name} {more} </dev/null >/tmp/said 2>&1 &")
    try:
        for _ in range(200):
            if "ready" in hosts.script("web", "ls /tmp"):
                break
            time.sleep(0.1)
        else:
            pytest.fail(hosts.script("web", "cat /tmp/said"))
        yield
    finally:
        hosts.script("web", END)
        time.sleep(0.5)


def one(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def gone(source: Path, *checks: str) -> None:
    failed = {found["check"] for found in run_hostaudit(source).failures()}
    assert failed & set(checks) == set()


def test_connections_that_nobody_closes(source: Path, tmp_path: Path) -> None:
    """12800 in two processes, as in the field; the policy asks for two seconds of idleness, to keep the test short."""
    policy = tmp_path / "hostaudit.toml"
    policy.write_text("[checks.close-wait-leak]\nidle_seconds = 2\n")
    with fault("leak"):
        audit = run_hostaudit(source, "--policy", str(policy))
    found = one(audit, "close-wait-leak")
    assert (found["grade"], found["severity"]) == ("active", "high")
    both = found["evidence"]["processes"]
    assert len(both) == 2
    assert all(6400 <= each["close_wait"] <= each["tcp_sockets"] for each in both)
    assert all(each["increase"] > 0 for each in both)
    assert {name for each in both for name in each["peers"]} == {"127.0.0.1:7001"}
    assert both[0]["process"]["name"].startswith("python3")
    gone(source, "close-wait-leak")


def test_no_file_descriptor_left(source: Path) -> None:
    with fault("descriptors"):
        found = one(run_hostaudit(source), "fd-exhaustion")
    assert found["grade"] == "active"
    assert found["evidence"]["processes"][0]["open"] == 300
    assert found["summary"].startswith("python3 (")
    gone(source, "fd-exhaustion")


def test_no_local_port_left(source: Path) -> None:
    with fault("ports"):
        found = one(run_hostaudit(source), "ephemeral-port-exhaustion")
    assert found["grade"] == "active"
    assert found["evidence"]["targets"][0] == {
        "source": "127.0.0.1",
        "target": "127.0.0.1:7001",
        "ports": 199,
        "time_wait": 0,
    }
    gone(source, "ephemeral-port-exhaustion")


def test_a_full_accept_queue_and_the_storm_before_it(source: Path) -> None:
    with fault("queue"):
        audit = run_hostaudit(source)
    found = one(audit, "listen-queue-overflow")
    assert found["grade"] == "active"
    listener = found["evidence"]["listeners"][0]
    assert (listener["address"], listener["backlog"], listener["queue"]) == ("127.0.0.1:7001", 8, 9)
    assert f"python3 ({listener['process']['pid']})" in found["advice"]
    storm = one(audit, "connection-storm")
    # a machine that has been up for a day has an average of its own to compare with
    assert storm["grade"] == ("active" if storm["evidence"]["usual"] else "risk")
    assert storm["evidence"]["per_second"]["failed"] > 50
    gone(source, "listen-queue-overflow", "connection-storm")


def test_a_flood_of_half_open_connections(source: Path) -> None:
    address = hosts.script("web", "ip -4 -o addr show scope global").split("inet ")[1].partition("/")[0]
    hosts.script("web", "ip route add 10.9.0.0/16 dev lo")
    with fault("flood", address):
        found = one(run_hostaudit(source), "syn-queue-overflow")
    assert found["grade"] == "active"
    assert list(found["evidence"]["sources"]) == ["10.9.1.0/24", "10.9.2.0/24"]
    listener = found["evidence"]["listeners"][0]
    assert listener["address"] == f"{address}:7001"
    assert listener["half_open"] >= 50
    assert "10.9.1.0/24" in found["advice"]
    assert f"({listener['process']['pid']})" in found["advice"]
    gone(source, "syn-queue-overflow")


def test_a_new_connection_for_every_request(source: Path) -> None:
    with fault("churn"):
        found = one(run_hostaudit(source), "connection-churn-high")
    assert found["grade"] == "active"
    assert found["evidence"]["time_wait_refused"] > 20
    gone(source, "connection-churn-high")


def test_keepalives_that_come_too_late(source: Path) -> None:
    """Idle connections are forgotten after 600 s here, and keepalives come after two hours."""
    hosts.script("web", TRACKING)
    hosts.script("web", SEND)  # an empty table that never moved tracks nothing
    found = one(run_hostaudit(source), "idle-timeout-reset")
    assert found["grade"] == "risk"
    assert found["remedy"] == {"role": "sysctl", "vars": {"sysctl_values": {"net.ipv4.tcp_keepalive_time": 300}}}
    hosts.script("web", "sysctl -qw net.ipv4.tcp_keepalive_time=300")
    gone(source, "idle-timeout-reset")
