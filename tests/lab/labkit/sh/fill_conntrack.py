"""fill_conntrack.py NUMBER [MIX]: put entries into the connection tracking table of this network namespace.

Through ctnetlink (IPCTNL_MSG_CT_NEW), in batches: a quarter of a million take some two seconds. ``mixed`` is what a
busy gateway holds; ``time-wait`` a table of closed connections of three clients; ``assured`` cannot be evicted.
Standard library only: it runs on the hosts. Ends with status 1 when the kernel refused entries.
"""

import socket
import struct
import sys
from pathlib import Path

CT_NEW, CREATE = 0x100, 0x601  # NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
OPEN, HALF = SEEN_REPLY | ASSURED | CONFIRMED, CONFIRMED
# percent, family, protocol, status, TCP state
MIXES = {
    "mixed": (
        *((55, 2, 6, OPEN, 3), (15, 2, 6, OPEN, 7), (6, 2, 6, HALF, 1), (6, 2, 6, OPEN, 5), (2, 2, 6, HALF, 3)),
        *((6, 2, 17, OPEN, 0), (5, 2, 17, HALF, 0), (4, 10, 6, OPEN, 3), (1, 10, 17, HALF, 0)),
    ),
    "time-wait": ((90, 2, 6, OPEN, 7), (10, 2, 6, OPEN, 3)),
    "assured": ((100, 2, 6, OPEN, 3),),
}
BATCH = 60_000


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """Return one netlink attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind | (0x8000 if nested else 0)) + value + bytes(-len(value) % 4)


def direction(family: int, source: bytes, target: bytes, protocol: int, ports: tuple[int, int]) -> bytes:
    """Return the contents of CTA_TUPLE_ORIG or _REPLY."""
    first = 1 if family == 2 else 3
    addresses = attribute(first, source) + attribute(first + 1, target)
    inner = attribute(1, bytes([protocol])) + b"".join(
        attribute(2 + n, struct.pack(">H", port)) for n, port in enumerate(ports)
    )
    return attribute(1, addresses, nested=True) + attribute(2, inner, nested=True)


def entry(number: int, family: int, protocol: int, status: int, state: int) -> bytes:
    """Return the message for entry ``number``: a port and a source of its own, one of three clients more often."""
    port, block = 1024 + number % 60_000, number // 60_000
    if family == 2:
        source, target = bytes([10, 1, block, 1 + number % 3]), bytes([10, 200, 0, 1])
    else:
        source, target = bytes([0xFD] + [0] * 14 + [block + 1]), bytes([0xFD] + [0] * 14 + [200])
    there = 443 if protocol == 6 else 53
    body = struct.pack("=BBH", family, 0, 0)
    body += attribute(1, direction(family, source, target, protocol, (port, there)), nested=True)
    body += attribute(2, direction(family, target, source, protocol, (there, port)), nested=True)
    body += attribute(7, struct.pack(">I", 3600)) + attribute(3, struct.pack(">I", status))
    if protocol == 6:
        body += attribute(4, attribute(1, attribute(1, bytes([state])), nested=True), nested=True)
    return struct.pack("=IHHII", 16 + len(body), CT_NEW, CREATE, 0, 0) + body


def refused(nl: socket.socket) -> dict[int, int]:
    """Return how often the kernel answered with which errno."""
    errors: dict[int, int] = {}
    nl.setblocking(False)
    while True:
        try:
            answer = nl.recv(65536)
        except BlockingIOError:
            return errors
        code = -struct.unpack_from("=i", answer, 16)[0]
        errors[code] = errors.get(code, 0) + 1


def main(number: int, mix: str) -> int:
    """Fill, and say how many entries the table has."""
    kinds = [kind[1:] for kind in MIXES[mix] for _ in range(kind[0])]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as nl:
        nl.bind((0, 0))
        nl.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        batch = bytearray()
        for n in range(number):
            batch += entry(n, *kinds[n * 37 % len(kinds)])
            if len(batch) > BATCH or n == number - 1:
                nl.send(batch)
                batch.clear()
        errors = refused(nl)
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text(encoding="ascii").strip()
    print(f"{count} entries", f"refused: {errors}" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "mixed"))
