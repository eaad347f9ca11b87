"""The outage's topology with a client that the controller can run in, and the many ways in which packets die.

The client's namespace gets a cable to the management network, so that `hostaudit trace` runs there as on an operator's
machine: it connects from there, and reaches the hosts by SSH from there.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import hosts
from labkit.audit import HOSTAUDIT, write_inventory
from labkit.outage import HYPERVISORS, PORT, WORKERS, Outage, ip
from labkit.settings import BRIDGE, NET, sh

VIP6 = "2001:db8::100"
_SERVER6 = """
import socket
with socket.create_server(("%s", %d), family=socket.AF_INET6, backlog=128) as listener:
    print("listening", flush=True)
    while True:
        listener.accept()[0].close()
"""
N = 10
"""Connections of each class of source ports, even and odd."""
SHORT = ("--count", str(2 * N), "--interval", "0.02", "--wait", "1.5")
SHORT_PROBE = ("--count", str(2 * N), "--every", "0.02", "--wait", "1.5")
CLIENT_MANAGEMENT = f"{NET}.251"


@dataclass
class Traced:
    """What one `hostaudit trace` said."""

    code: int
    document: dict[str, Any]
    stderr: str

    def verdicts(self, parity: int | None = None) -> Counter[str]:
        """Verdict -> connections, of odd (1) or even (0) source ports where one is given."""
        mine = [c for c in self.document["connections"] if parity is None or c["source_port"] % 2 == parity]
        return Counter(c["verdict"] for c in mine)

    def sentences(self) -> str:
        """All sentences."""
        return "\n".join(g["sentence"] for g in self.document["groups"])

    def group(self, verdict: str) -> dict[str, Any]:
        """The one group with a verdict."""
        (found,) = [g for g in self.document["groups"] if g["verdict"] == verdict]
        return found


class Net(Outage):
    """The topology, and what a test changes in it."""

    def cable(self) -> None:
        """Let the client reach the management network."""
        sh("ip", "link", "add", "lx-client", "type", "veth", "peer", "name", "mgmt", "netns", "client")
        sh("ip", "link", "set", "lx-client", "master", BRIDGE, "up")
        ip(f"addr add {CLIENT_MANAGEMENT}/24 dev mgmt", "link set mgmt up", netns="client")

    def close(self) -> None:
        """Take everything down; the cable by name, because the kernel takes namespaces apart later."""
        subprocess.run(["ip", "link", "del", "lx-client"], check=False, capture_output=True)
        super().close()

    def trace(
        self,
        tmp_path: Path,
        *options: str,
        names: tuple[str, ...] = HYPERVISORS,
        target: str = "",
        variables: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Traced:
        """Trace the shared address from the client, with these hosts as sensors."""
        source = write_inventory(tmp_path / "inventory.ini", names, variables)
        target = target or f"{self.vip}:{PORT}"
        command = ["ip", "netns", "exec", "client", str(HOSTAUDIT), "trace", target, "-i", str(source)]
        command += ["--format", "json", "-q", *options]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
        )
        assert done.returncode in (0, 4, 8, 12), f"exit code {done.returncode}\n{done.stderr}"
        return Traced(done.returncode, json.loads(done.stdout), done.stderr)

    def probe(self) -> float:
        """Return the share of `hostaudit probe tcp`'s connections from the client to the shared address that fail."""
        first = self._ports(2 * N)
        ports = ("--source-ports", f"{first}-{first + 2 * N - 1}")
        words = ("probe", "tcp", f"{self.vip}:{PORT}", "--format", "json", *SHORT_PROBE, *ports)
        command = ["ip", "netns", "exec", "client", str(HOSTAUDIT), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 8), f"exit code {done.returncode}\n{done.stderr}"
        (series,) = json.loads(done.stdout)["tcp"]
        assert series["tried"] == 2 * N
        return 1 - float(series["ok"] / series["tried"])

    def paths(self, tmp_path: Path) -> dict[str, Any]:
        """Ask `hostaudit paths` about the shared address, which w1 owns and both workers serve."""
        reason = "DSR: w2 answers for the load balancer on w1"
        variables: dict[str, dict[str, Any]] = {name: {"hostaudit_asymmetric": reason} for name in HYPERVISORS}
        tables = {"hostaudit_vips": {self.vip: "w1"}, "hostaudit_backends": {self.vip: "w1,w2"}}
        variables["h1"] |= {name: str(table) for name, table in tables.items()}
        source = write_inventory(tmp_path / "paths.ini", (*HYPERVISORS, *WORKERS), variables)
        command = [
            "ip",
            "netns",
            "exec",
            "client",
            str(HOSTAUDIT),
            "paths",
            "-i",
            str(source),
            "--format",
            "json",
            "-q",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 8), f"exit code {done.returncode}\n{done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def serve6(self) -> None:
        """Give w1 an IPv6 address with a service, and the client one beside it."""
        ip("addr add 2001:db8::10/64 dev eth0 nodad", netns="client")
        ip(f"addr add {VIP6}/64 dev ens18 nodad", netns="w1")
        program = ("/usr/bin/python3", "-c", _SERVER6 % (VIP6, PORT))
        command = hosts.inside("w1", *program, forking=False)
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._services.append(child)
        assert child.stdout is not None
        child.stdout.readline()

    def stop_serving(self) -> None:
        """End the application on both workers: its kernel refuses from now on."""
        for child in self._services:
            child.kill()
            child.communicate()
        self._services.clear()


@contextmanager
def running(mode: str = "bridge", backend: str = "iptables-legacy") -> Iterator[Net]:
    """Start the hosts and the topology; nothing drops anything yet."""
    specs = {name: hosts.Spec("ns:bookworm", groups=("hypervisors",)) for name in HYPERVISORS}
    specs |= {name: hosts.Spec("ns:bookworm", groups=("workers",)) for name in WORKERS}
    with hosts.up(specs):
        net = Net(mode, backend)
        try:
            net.build()
            net.cable()
            yield net
        finally:
            net.close()
