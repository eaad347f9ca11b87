"""Makes these network and mount namespaces a busy host: ``busy_host.py SOCKETS RULES LINKS ENTRIES [ROUTES [MAP]]``.

Prints what is there as JSON, and keeps it until its standard input ends. One connection of twenty is closed by one side
only, as where a program leaks them; the rules are accepting ones of as many addresses, with a few that look at
connection tracking, once for legacy iptables and once for nft.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
FILLER, MAPS = TESTS / "lab/labkit/sh/fill_conntrack.py", TESTS / "bpfmaps.py"
PIN = "/sys/fs/bpf/tc/globals/cilium_ct4_global"
EACH = 8_000
"""Connections of one process: twice as many descriptors, which every hard limit allows."""
CHAINS = 50
NEIGHBOURS = 100


def connections(number: int) -> None:
    """Hold so many sockets, by processes that end with this one."""
    holders = []
    for place, first in enumerate(range(0, number // 2, EACH)):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            _hold(f"127.1.{place}.1", min(EACH, number // 2 - first), theirs)
        theirs.close()
        holders.append(ours)
    for one in holders:
        assert one.recv(1), "a process could not hold its connections"
    _kept.extend(holders)


_kept: list[socket.socket] = []


def _hold(address: str, number: int, parent: socket.socket) -> None:
    try:
        hard = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 2 * number + 100)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        server = socket.create_server((address, 443), backlog=1000)
        pairs = []
        for place in range(number):
            client = socket.create_connection((address, 443))
            accepted = server.accept()[0]
            if place % 20 == 0:
                client.shutdown(socket.SHUT_WR)  # the server's end waits in CLOSE_WAIT
            pairs.append((client, accepted))
        parent.send(b"1")
        parent.recv(1)
    finally:
        os._exit(0)


def links(number: int) -> None:
    """Make interfaces, in pairs."""
    batch = "".join(f"link add v{n} type veth peer name w{n}\n" for n in range(number // 2))
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


def rules(number: int) -> None:
    """Load rules into legacy iptables and into nf_tables."""
    legacy = ["*filter", *(f":C{n} - [0:0]" for n in range(CHAINS))]
    legacy += [f"-A FORWARD -d 10.{n}.0.0/16 -j C{n}" for n in range(CHAINS)]
    native = ["table inet bench {", "chain forward { type filter hook forward priority 0; policy accept; }"]
    chains: list[list[str]] = [[] for _ in range(CHAINS)]
    for n in range(number - CHAINS):
        address = f"10.{n % CHAINS}.{n >> 8 & 255}.{n & 255}"
        chains[n % CHAINS].append(f"ip daddr {address} tcp dport {1024 + n % 60_000} counter accept")
        state = "-m conntrack --ctstate RELATED,ESTABLISHED " if n % 100 == 0 else ""
        legacy.append(f"-A C{n % CHAINS} -d {address}/32 -p tcp -m tcp --dport {1024 + n % 60_000} {state}-j ACCEPT")
    for n, lines in enumerate(chains):
        native += [f"chain c{n} {{", "ct state invalid counter drop", *lines[1:], "}"]
    native.append("}")
    native += [f"add rule inet bench forward ip daddr 10.{n}.0.0/16 jump c{n}" for n in range(CHAINS)]
    text = "\n".join([*legacy, "COMMIT", ""])
    subprocess.run(["iptables-legacy-restore"], input=text, text=True, check=True)
    subprocess.run(["nft", "-f", "-"], input="\n".join(native), text=True, check=True)


def entries(number: int) -> int:
    """Fill the connection tracking table as far as its limit allows; return how many entries there are."""
    limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    subprocess.run([sys.executable, str(FILLER), str(min(number, limit - 1000))], check=True, stdout=sys.stderr)
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def routes(number: int) -> None:
    """Make routes, and some neighbours: the limit of that table is one for all namespaces, and others need it."""
    lines = [
        "link add n0 type veth peer name n1",
        "address add 10.250.0.1/16 dev n0",
        "link set n0 up",
        "link set n1 up",
    ]
    lines += [
        f"neighbour replace 10.250.1.{n} lladdr 02:00:00:00:00:{n:02x} nud stale dev n0" for n in range(NEIGHBOURS)
    ]
    lines += [f"route replace 10.251.{n >> 8 & 255}.{n & 255}/32 via 10.250.0.2 dev n0" for n in range(number)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def bpf_map(number: int) -> None:
    """Make Cilium's connection tracking map with so many entries, 95 of 100 that it was made for."""
    subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    words = ("lru_hash", "14", "56", str(number * 100 // 95), str(number))
    subprocess.run([sys.executable, str(MAPS), "fill", PIN, *words], check=True)


def main(arguments: list[str]) -> int:
    wanted = [int(word) for word in arguments] + [0] * (6 - len(arguments))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    connections(wanted[0])
    links(wanted[2])
    routes(wanted[4])
    tracked = entries(wanted[3]) if wanted[3] else 0
    if wanted[1]:
        rules(wanted[1])
    if wanted[5]:
        bpf_map(wanted[5])
    found = {"sockets": wanted[0], "rules": wanted[1], "links": wanted[2], "entries": tracked, "routes": wanted[4]}
    found["map"] = wanted[5]
    print(json.dumps(found), flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
