"""A small name server, and what makes the two queries of a lookup race in connection tracking."""

SERVER = """
import socket, struct, sys
lost = {int(word) for word in sys.argv[1].split(",") if word}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 53))
    print("listening", flush=True)
    while True:
        query, client = sock.recvfrom(512)
        end = query.index(0, 12) + 5
        kind = struct.unpack_from("!H", query, end - 4)[0]
        if kind in lost:
            continue
        data = b"\\x0a\\0\\0\\x64" if kind == 1 else bytes(15) + b"\\1"
        record = b"\\xc0\\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
        sock.sendto(query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + query[12:end] + record, client)
"""
"""Answers any name; its argument: types that it does not answer (28: AAAA), with commas."""

RACE = """
import select, socket, struct, sys
pairs = int(sys.argv[1])
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER

def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

def say(kind, *attributes):
    body = struct.pack("=BBH", 0, 0, 0) + b"".join(attributes)
    netlink.send(struct.pack("=IHHII", 16 + len(body), 3 << 8 | kind, 1, 0, 0) + body)

def queued(seconds):
    if not select.select([netlink], [], [], seconds)[0]:
        return None
    data = netlink.recv(65536)
    if struct.unpack_from("=H", data, 4)[0] != 3 << 8:  # NFQNL_MSG_PACKET
        sys.exit(f"no packet, but {data!r}")
    return data[24:28]  # the first attribute, NFQA_PACKET_HDR, begins with the packet's number

def accept(packet, mark):
    say(1, attribute(2, struct.pack("!I", 1) + packet), attribute(3, struct.pack("!I", mark)))

say(2, attribute(1, struct.pack("!BBH", 1, 0, 0)))  # NFQNL_CFG_CMD_BIND
say(2, attribute(2, struct.pack("!IB", 0, 1)))  # NFQNL_COPY_META
print("listening", flush=True)
while True:
    first = queued(None)
    second = queued(0.3) if pairs else None
    accept(first, 1)
    if second:
        accept(second, 2)
        pairs -= 1
"""
"""Holds the first query of a lookup in NFQUEUE 0 until the second one is there, so that none of the two has an entry in
connection tracking when the other one gets its own: what two processors do by chance. It does so for as many lookups
as its argument says. The second of them is marked 2: the other name server that a Service's rules would draw for it.
Messages and attributes: include/uapi/linux/netfilter/nfnetlink_queue.h."""
