"""A load balancer that keeps the client's address, and a client beside the backend: real packets, and both commands."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, tracenet
from labkit.audit import run_hostaudit, write_inventory
from labkit.outage import HYPERVISORS, PORT, WORKERS
from labkit.tracenet import SHORT, N, Net

BACKEND = "10.0.0.22"
SERVER = """
import socket
with socket.create_server(("%s", %d), backlog=128) as listener:
    print("listening", flush=True)
    while True:
        listener.accept()[0].close()
"""
CHECK = "hairpin-client-ip-preserved"


@pytest.fixture
def net() -> Iterator[Net]:
    """w1 translates the shared address to w2's own, which is in the client's network."""
    with tracenet.running() as running:
        command = hosts.inside("w2", "/usr/bin/python3", "-c", SERVER % (BACKEND, PORT), forking=False)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "listening\n"
            rules = f"""add table ip lb
            add chain ip lb pre {{ type nat hook prerouting priority -100; }}
            add chain ip lb post {{ type nat hook postrouting priority 100; }}
            add rule ip lb pre ip daddr {running.vip} tcp dport {PORT} counter dnat to {BACKEND}:{PORT}
            """
            hosts.run("w1", "nft", "-f", "-", input=rules)
            try:
                yield running
            finally:
                child.kill()


@pytest.mark.long
def test_the_rule_is_named_with_traffic_and_without(net: Net, tmp_path: Path) -> None:
    """Long: two traces and two audits. The verdict is also that of test_trace.py, the check has data cases."""
    found = net.trace(tmp_path, *SHORT, names=(*HYPERVISORS, *WORKERS))
    assert found.verdicts() == Counter({"reply-from-other-source": 2 * N})
    for group in found.document["groups"]:
        assert group["cause"]["proven"], group
        assert f"w1 translated {net.vip} to {BACKEND}" in group["sentence"]
    source = write_inventory(tmp_path / "w1.ini", ("w1",))
    (failure,) = run_hostaudit(source, "--only", CHECK).failures(CHECK, "risk")
    assert failure["summary"].startswith(f"10.0.0.0/24 is answered by {BACKEND}, not by {net.vip}")

    cure = f"add rule ip lb post ip saddr 10.0.0.0/24 ip daddr {BACKEND} masquerade\n"
    hosts.run("w1", "nft", "-f", "-", input=cure)
    assert run_hostaudit(source, "--only", CHECK).failures() == []
    after = net.trace(tmp_path, *SHORT, names=HYPERVISORS)
    assert after.code == 0, after.verdicts()
