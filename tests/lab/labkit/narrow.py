"""A router with a tunnel narrower than the links beside it, a client on one side and a server on the other.

All of it is inside one host, ``r1``; the client sends 20 kB per connection and writes ``done`` or ``hung`` for each.
"""

from labkit import hosts

# client (1500) -- r1 == VXLAN, 1450 == r2 -- server (1500). Only r1 is audited.
PATH = """\
for space in client r2 server; do ip netns add $space; done
ip link add lan type veth peer name eth0 netns client
ip link add wan type veth peer name eth0 netns r2
ip -n r2 link add lan type veth peer name eth0 netns server
ip addr add 10.7.0.1/24 dev lan; ip link set lan up
ip addr add 10.9.0.1/24 dev wan; ip link set wan up
ip -n client addr add 10.7.0.2/24 dev eth0; ip -n client link set eth0 up; ip -n client route add default via 10.7.0.1
ip -n r2 addr add 10.9.0.2/24 dev eth0; ip -n r2 link set eth0 up
ip -n r2 addr add 10.6.0.1/24 dev lan; ip -n r2 link set lan up
ip -n server addr add 10.6.0.2/24 dev eth0; ip -n server link set eth0 up; ip -n server route add default via 10.6.0.1
ip link add vx0 type vxlan id 5 remote 10.9.0.2 dstport 4789 dev wan
ip addr add 10.8.0.1/24 dev vx0; ip link set vx0 mtu 1450 up
ip -n r2 link add vx0 type vxlan id 5 remote 10.9.0.1 dstport 4789 dev eth0
ip -n r2 addr add 10.8.0.2/24 dev vx0; ip -n r2 link set vx0 mtu 1450 up
ip route add 10.6.0.0/24 via 10.8.0.2
ip -n r2 route add 10.7.0.0/24 via 10.8.0.1
sysctl -qw net.ipv4.ip_forward=1
ip netns exec r2 sysctl -qw net.ipv4.ip_forward=1
cat >/tmp/serve.py <<'END'
import socket
with socket.create_server(("10.6.0.2", 80), backlog=64) as listener:
    while True:
        s, _ = listener.accept()
        s.settimeout(3)
        try:
            while s.recv(65536):
                pass
            s.sendall(b"done")
        except OSError:
            pass
        s.close()
END
cat >/tmp/send.py <<'END'
import socket, struct
while True:
    try:
        with socket.create_connection(("10.6.0.2", 80), 3) as s:
            # else the kernel goes on sending what hangs for a minute after the program has ended
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.sendall(bytes(20000))
            s.shutdown(socket.SHUT_WR)
            print(s.recv(9).decode() or "hung", flush=True)
    except OSError:
        print("hung", flush=True)
END
"""
BLOCKS = {
    "iptables-legacy": ("iptables-legacy -A OUTPUT -p icmp -j DROP", "iptables-legacy -F OUTPUT"),
    "iptables-nft": ("iptables-nft -A OUTPUT -p icmp -j DROP", "iptables-nft -F OUTPUT"),
    "nftables": (
        "nft 'table inet f { chain o { type filter hook output priority 0; meta l4proto icmp counter drop; }; }'",
        "nft delete table inet f",
    ),
}
CLAMP = "iptables-nft -t mangle -A FORWARD {way} vx0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"


def background(command: str, said: str = "/dev/null") -> str:
    """Return a line of shell that starts a process which outlives the shell."""
    return f"setsid {command} </dev/null >{said} 2>/dev/null &\n"


def build() -> None:
    """Make the path inside r1, and start the server."""
    hosts.script("r1", PATH + background("ip netns exec server python3 /tmp/serve.py"))


def sends() -> None:
    """Forget what was learnt about the path, and have the client send from now on."""
    hosts.script("r1", "kill $(cat /tmp/pid) 2>/dev/null || :; ip netns exec client ip route flush cache; : >/tmp/sent")
    start = "sh -c 'echo $$ >/tmp/pid; exec ip netns exec client python3 /tmp/send.py'"
    hosts.script("r1", background(start, "/tmp/sent") + "sleep 1")


def last() -> str:
    """Return what became of the client's last connection."""
    return hosts.script("r1", "tail -n1 /tmp/sent").strip()
