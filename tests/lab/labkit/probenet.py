"""The outage, with one more client: a host with an sshd beside the one that is a bare namespace."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit import hosts, outage
from labkit.audit import HOSTAUDIT, write_inventory
from labkit.outage import PORT, Outage, ip
from labkit.settings import sh

CLIENT_NETNS = ("ip", "netns", "exec", "client")


class Lab:
    """The outage, with one more client that is a host with an sshd."""

    def __init__(self, net: Outage, source: Path) -> None:
        self.net, self.source = net, source
        self.vip = f"{net.vip}:{PORT}"
        self._first = 61000

    def ports(self) -> str:
        """Source ports that no earlier probe used: no old entry of connection tracking answers for a new one."""
        self._first += 40
        return f"{self._first - 40}-{self._first - 1}"

    def probe(self, *words: str, inside: tuple[str, ...] = CLIENT_NETNS) -> tuple[int, dict[str, Any]]:
        """Run the installed command; return its exit code and document."""
        command = [*inside, str(HOSTAUDIT), "probe", *words, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def tcp(self, *words: str, here: bool = True) -> tuple[int, list[dict[str, Any]]]:
        """Twenty handshakes with each address, from the client's namespace or from c1."""
        away = ("-i", str(self.source), "--from", "c1")
        fast = ("--count", "20", "--every", "0.02", "--wait", "1.5", "--source-ports", self.ports())
        inside = CLIENT_NETNS if here else ()
        code, document = self.probe("tcp", *words, *fast, *(() if here else away), inside=inside)
        assert document["schema"] == "hostaudit.probe/1"
        return code, document["tcp"]


@contextmanager
def running(source: Path) -> Iterator[Lab]:
    """Start it; the workers declare the shared address in the inventory that is written to ``source``."""
    with outage.running("bridge", "iptables-legacy") as net, hosts.up({"c1": hosts.Spec("ns:bookworm", ("clients",))}):
        sh("ip", "netns", "attach", "c1", hosts.leader("c1"))
        net._cable("switch", "p-c1", "c1", "eth7")
        ip("link set p-c1 master sw", netns="switch")
        ip("addr add 10.0.0.11/24 dev eth7", netns="c1")
        names = ("c1", *outage.HYPERVISORS, *outage.WORKERS)
        declared = {name: {"hostaudit_vips": f"{net.vip}:{PORT}"} for name in outage.WORKERS}
        try:
            yield Lab(net, write_inventory(source, names, declared))
        finally:
            sh("ip", "netns", "del", "c1")
