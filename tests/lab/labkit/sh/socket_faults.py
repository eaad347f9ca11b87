"""socket_faults.py FAULT: make one fault of sockets in this host, for real, until the process group is killed.

Writes its process group to /tmp/fault.pid, and /tmp/fault.ready once the fault is there. Standard library only.
"""

import contextlib
import os
import random
import resource
import socket
import struct
import sys
import time
from pathlib import Path

PORT = 7001


def serve(backlog: int, address: str = "127.0.0.1") -> socket.socket:
    """Return a listener that nobody accepts from yet."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    listener.listen(backlog)
    return listener


def ready() -> None:
    """Say that the fault is there."""
    Path("/tmp/fault.ready").touch()


def leak(number: int = 12800, processes: int = 2) -> None:
    """Clients that do not close what the server has closed; after the first ones, ten more a second."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
    listener = serve(4096)
    if os.fork() == 0:
        while True:
            listener.accept()[0].close()
    listener.close()
    each = number // processes
    for _ in range(processes):
        if os.fork() == 0:
            kept = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(each)]
            Path(f"/tmp/fault.{os.getpid()}").touch()
            while True:
                kept.append(socket.create_connection(("127.0.0.1", PORT)))
                time.sleep(0.2)
    while len(list(Path("/tmp").glob("fault.[0-9]*"))) < processes:
        time.sleep(0.1)
    time.sleep(3)  # the leak is a little older than the seconds that the test asks for
    ready()


def descriptors() -> None:
    """Open files until there is no descriptor left, of 300."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    ready()
    kept = []
    with contextlib.suppress(OSError):
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    while True:
        time.sleep(1)


def ports() -> None:
    """Hold all but one of 200 local ports to one target."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40199")
    listener = serve(300)
    kept = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(199)]
    kept.append(listener)
    ready()
    while True:
        time.sleep(1)


def queue() -> None:
    """Knock a hundred times a second at a program that accepts nothing."""
    kept = [serve(8)]
    ready()
    while True:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", PORT))
        kept = [*kept[:1], *kept[1:][-200:], client]
        time.sleep(0.01)


def checksum(data: bytes) -> int:
    """Return the Internet checksum."""
    return ~(sum(struct.unpack(f"!{len(data) // 2}H", data)) % 65535) & 65535


def flood() -> None:
    """Send SYNs from addresses that never answer: 250 a second, mostly of one network."""
    kept = [serve(64, sys.argv[2])]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    there = socket.inet_aton(sys.argv[2])
    ready()
    while kept:
        here = socket.inet_aton(f"10.9.{random.choice((1, 1, 1, 2))}.{random.randrange(1, 255)}")  # noqa: S311
        tcp = struct.pack("!HHIIBBHHH", random.randrange(1024, 65535), PORT, 1, 0, 80, 2, 1024, 0, 0)  # noqa: S311
        total = checksum(here + there + struct.pack("!HH", 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
        ip = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(tcp), 0, 0, 64, 6, 0, here, there)
        raw.sendto(ip + tcp, (socket.inet_ntoa(there), 0))
        time.sleep(0.004)


def churn() -> None:
    """Open and close a connection a hundred times a second, on a host that has room for ten in TIME_WAIT."""
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("10")
    listener = serve(16)
    ready()
    while True:
        client = socket.create_connection(("127.0.0.1", PORT))
        client.close()
        listener.accept()[0].close()
        time.sleep(0.01)


if __name__ == "__main__":
    Path("/tmp/fault.pid").write_text(str(os.getpid()))
    globals()[sys.argv[1]]()
    time.sleep(600)
