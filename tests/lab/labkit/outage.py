"""The outage, with real packets: a reply that takes another way home is INVALID to the hypervisor on that way.

    client -- switch --+-- h1 (hypervisor) -- w1   answers ARP for the shared address: the load balancer's way in
                       +-- h2 (hypervisor) -- w2   has the address too, and answers the client directly (DSR)

Request   client -> h1 -> w1; for odd source ports w1 hands the packet to w2 through VXLAN, unchanged.
Reply     even port: w1 -> h1 -> client. h1 saw the SYN as well: fine.
          odd port:  w2 -> h2 -> client. h2 never saw the SYN (only VXLAN around it): the SYN-ACK is INVALID there.

The four are hosts of the lab with an sshd on the management network; client and switch are bare namespaces.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from labkit import hosts
from labkit.firewall import BACKENDS, Backend
from labkit.settings import sh

HYPERVISORS = ("h1", "h2")
WORKERS = ("w1", "w2")
BARE = ("client", "switch")
PORT = 8080
CLIENT = "10.0.0.10"
HERE = Path(__file__).parent


def ip(*lines: str, netns: str) -> None:
    """Run lines of ``ip -batch`` in a namespace."""
    sh("ip", "-netns", netns, "-batch", "-", input="\n".join([*lines, ""]))


def sysctl(netns: str, values: dict[str, int]) -> None:
    """Set sysctls of a namespace."""
    text = "\n".join(f"{k} = {v}" for k, v in values.items())
    sh("ip", "netns", "exec", netns, "sysctl", "-q", "-p", "-", input=text)


class Outage:
    """The running topology. Made by ``running``."""

    def __init__(self, mode: str, backend: str | Backend) -> None:
        """Take over the started hosts; ``mode`` is bridge or route, ``backend`` a name in ``BACKENDS`` or your own."""
        self.mode = mode
        self.backend_name = backend if isinstance(backend, str) else type(backend).__name__
        self.backend = BACKENDS[backend]() if isinstance(backend, str) else backend
        self.vip = "10.0.0.100" if mode == "bridge" else "10.9.9.9"
        self.worker_ip = ("10.0.0.21", "10.0.0.22") if mode == "bridge" else ("10.1.1.2", "10.1.2.2")
        self._next_port = 20000
        self._services: list[subprocess.Popen[str]] = []

    # ---- what tests and people do with it

    def drop(self, hypervisor: str) -> None:
        """Make the hypervisor drop forwarded packets in state INVALID."""
        self.backend.drop(hypervisor)

    def allow(self, hypervisor: str) -> None:
        """Take that rule out again."""
        self.backend.allow(hypervisor)

    def dropped(self, hypervisor: str) -> int:
        """Return the packets that the rule took so far."""
        return self.backend.dropped(hypervisor)

    def invalid(self, hypervisor: str) -> int:
        """Return how many packets connection tracking called INVALID, dropped or not."""
        per_cpu = hosts.run(hypervisor, "conntrack", "-S").split()
        return sum(int(w.removeprefix("invalid=")) for w in per_cpu if w.startswith("invalid="))

    def handshakes(self, n: int = 10, timeout: float = 1.5) -> dict[str, Counter[str]]:
        """Open n connections per class, all at once, from ports never used before; results per class.

        1.5 s leaves room for one retransmission of the SYN, after 1 s.
        """
        out = sh(*self._client("burst", self._ports(2 * n), n, timeout)).stdout
        return {name: Counter(results) for name, results in json.loads(out).items()}

    @contextmanager
    def keep_trying(self, seconds: float = 60) -> Iterator[None]:
        """Open connections of the asymmetric class in the background, for at most so many seconds."""
        most = int(160 * seconds)  # ports: eight at a time, with a pause of 50 ms
        command = [str(c) for c in self._client("keep", self._ports(most), seconds, 0.5)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
            try:
                yield
            finally:
                child.kill()

    def _ports(self, many: int) -> int:
        first = self._next_port
        self._next_port += many + many % 2
        return first

    def _client(self, how: str, *arguments: object) -> list[object]:
        program = ["python3", HERE / "handshakes.py", self.vip, PORT, how]
        return ["ip", "netns", "exec", "client", *program, *arguments]

    # ---- how it is made

    def build(self) -> None:
        """Connect the namespaces and start the application."""
        for name in BARE:
            sh("ip", "netns", "add", name)
            ip("link set lo up", netns=name)
        for name in (*HYPERVISORS, *WORKERS):
            sh("ip", "netns", "attach", name, hosts.leader(name))
        for name in (*BARE, *HYPERVISORS, *WORKERS):  # so that it cannot be what drops the packets
            sysctl(name, {"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0})
        ip("link add sw type bridge", "link set sw up", netns="switch")
        self._cable("switch", "p-client", "client", "eth0")
        ip(f"addr add {CLIENT}/24 dev eth0", netns="client")
        for number, (hypervisor, worker) in enumerate(zip(HYPERVISORS, WORKERS, strict=True), 1):
            self._cable("switch", f"p-{hypervisor}", hypervisor, "eno1")
            self._cable(hypervisor, f"tap10{number}i0", worker, "ens18")
        for port in ("p-client", "p-h1", "p-h2"):
            ip(f"link set {port} master sw", netns="switch")
        (self._bridge if self.mode == "bridge" else self._route)()
        self._balance()
        for name in HYPERVISORS:
            self.backend.install(name)
        for name in WORKERS:
            self._serve(name)

    def _cable(self, a: str, a_end: str, b: str, b_end: str) -> None:
        ip(f"link add {a_end} type veth peer name {b_end} netns {b}", f"link set {a_end} up", netns=a)
        ip(f"link set {b_end} up", netns=b)

    def _bridge(self) -> None:
        """Guest port and uplink on one bridge, whose frames the packet filter sees (br_netfilter)."""
        for number, name in enumerate(HYPERVISORS, 1):
            ports = ("eno1", f"tap10{number}i0")
            ip("link add vmbr0 type bridge", "link set vmbr0 up", netns=name)
            ip(*(f"link set {p} master vmbr0" for p in ports), netns=name)
            sysctl(name, {"net.bridge.bridge-nf-call-iptables": 1})
        for name, address in zip(WORKERS, self.worker_ip, strict=True):
            ip(f"addr add {address}/24 dev ens18", netns=name)
        # only w1 answers ARP for the shared address
        sysctl("w2", {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2})

    def _route(self) -> None:
        """Hypervisors that forward between networks of their own."""
        for number, name in enumerate(HYPERVISORS, 1):
            other = 3 - number
            worker = WORKERS[number - 1]
            sysctl(name, {"net.ipv4.ip_forward": 1})
            ip(f"addr add 10.0.0.{number}/24 dev eno1", netns=name)
            ip(f"addr add 10.1.{number}.1/24 dev tap10{number}i0", netns=name)
            ip(f"route add 10.1.{other}.0/24 via 10.0.0.{other}", netns=name)
            ip(f"addr add 10.1.{number}.2/24 dev ens18", netns=worker)
            ip(f"route replace default via 10.1.{number}.1", netns=worker)
        ip(f"route add {self.vip} via {self.worker_ip[0]}", netns="h1")
        ip(f"route add {self.vip} via 10.0.0.1", netns="client")

    def _balance(self) -> None:
        """Make w1 the load balancer: odd source ports go to w2 through VXLAN, with their addresses unchanged."""
        for name in WORKERS:
            ip(f"addr add {self.vip}/32 dev lo", netns=name)
        for name, number, local, remote in (("w1", 1, *self.worker_ip), ("w2", 2, *self.worker_ip[::-1])):
            tunnel = f"link add vx type vxlan id 42 local {local} remote {remote} dstport 8472 dev ens18"
            ip(tunnel, f"addr add 172.31.0.{number}/30 dev vx", "link set vx up", netns=name)
        sysctl("w1", {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.send_redirects": 0})
        sysctl("w1", {"net.ipv4.conf.ens18.send_redirects": 0})
        mark = f"iifname ens18 ip daddr {self.vip} tcp dport {PORT} tcp sport & 1 == 1 meta mark set 7"
        chain = "ip balance in { type filter hook prerouting priority -150; }"
        rules = f"add table ip balance\nadd chain {chain}\nadd rule ip balance in {mark}\n"
        hosts.run("w1", "nft", "-f", "-", input=rules)
        # marked packets are looked up before the local table, where the shared address is w1's own
        ip("rule add pref 5 fwmark 7 lookup 77", "rule add pref 10 lookup local", netns="w1")
        ip("rule del pref 0 lookup local", f"route add {self.vip}/32 via 172.31.0.2 dev vx table 77", netns="w1")

    def _serve(self, name: str) -> None:
        program = (HERE / "worker.py").read_text()
        command = hosts.inside(name, "/usr/bin/python3", "-c", program, self.vip, PORT, name, forking=False)
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._services.append(child)
        assert child.stdout is not None
        child.stdout.readline()

    def close(self) -> None:
        """End the application and remove the bare namespaces and the names of the others."""
        for child in self._services:
            child.kill()
            child.communicate()
        for name in (*BARE, *HYPERVISORS, *WORKERS):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextmanager
def running(
    mode: str, backend: str | Backend, suite: str = "bookworm", hypervisors: Mapping[str, hosts.Spec] | None = None
) -> Iterator[Outage]:
    """Start the hosts and the topology; of ``BACKENDS``, none drops anything yet. ``hypervisors`` replace its own."""
    specs = dict(hypervisors or {n: hosts.Spec(f"ns:{suite}", groups=("hypervisors",)) for n in HYPERVISORS})
    specs |= {name: hosts.Spec(f"ns:{suite}", groups=("workers",)) for name in WORKERS}
    with hosts.up(specs):
        net = Outage(mode, backend)
        try:
            net.build()
            yield net
        finally:
            net.close()
