"""A fleet of which a part hangs, refuses or is slow, beside its healthy part: ``trouble.py [HOSTS]`` (BENCH_N, 100).

Of 1,000 hosts 50 accept connections and never say a word, 50 refuse them, and 50 are behind a link of 200 ms, which a
proxy plays. The aim: the whole run takes 1.3 times as long as the healthy hosts alone, and one deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import fleet

RTT = 0.2
DEADLINE = 10.0
SO_BINDTODEVICE = 25


class Half(asyncio.Protocol):
    """One side of a connection through the slow link."""

    def __init__(self, port: int, peer: Half | None = None) -> None:
        self.port, self.peer = port, peer
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the far side is dialled one round trip later."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.peer is None:
            transport.pause_reading()
            asyncio.get_running_loop().call_later(RTT, lambda: asyncio.ensure_future(self.dial()))

    async def dial(self) -> None:
        """Connect to the host."""
        assert self.transport is not None
        address = self.transport.get_extra_info("sockname")[0]
        loop = asyncio.get_running_loop()
        try:
            _, self.peer = await loop.create_connection(lambda: Half(self.port, self), address, self.port)
            self.transport.resume_reading()
        except OSError:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass data on, half a round trip later."""
        asyncio.get_running_loop().call_later(RTT / 2, self.forward, data)

    def forward(self, data: bytes) -> None:
        """Write what has arrived at the far end."""
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def connection_lost(self, _reason: Exception | None) -> None:
        """End the other side, too."""
        other = self.peer.transport if self.peer else None
        if other:
            asyncio.get_running_loop().call_later(RTT / 2, other.close)


def listener() -> socket.socket:
    """Return a listening socket for every address of loopback, and of nothing else."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"lo\0")
    sock.bind(("0.0.0.0", 0))  # noqa: S104 - bound to lo
    sock.listen(1024)
    return sock


async def serve(port: int) -> None:
    """Play the slow link and the hosts that say nothing; print their ports."""
    slow, silent = listener(), listener()
    await asyncio.get_running_loop().create_server(lambda: Half(port), sock=slow)
    print(slow.getsockname()[1], silent.getsockname()[1], flush=True)
    await asyncio.Event().wait()


def read(one: fleet.Fleet, hosts: list[tuple[str, str, int]], output: Path) -> dict[str, float]:
    """Read hosts in a process of its own; return what it cost, and how many answered."""
    listed = "".join(f"{name} {address} {port}\n" for name, address, port in hosts)
    (one.folder / "hosts").write_text(listed)
    own = str(Path(__file__).parent / "peers/own_facts.py")
    tree = str(Path(__file__).parent / "measure_tree.py")
    command = [sys.executable, tree, "900", sys.executable, own, str(one.folder), str(len(hosts)), "20", str(output)]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OWN_CONNECT_TIMEOUT": f"{DEADLINE}"},
    )
    cost: dict[str, float] = json.loads(done.stdout)
    return {**cost, "answers": len(output.read_text().splitlines())}


def measure(count: int) -> dict[str, float]:
    """Return the walls of the healthy part and of the whole fleet, in seconds."""
    part = max(1, count // 20)
    with fleet.up(count) as one:
        proxy = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(one.port)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert proxy.stdout is not None
            slow, silent = (int(word) for word in proxy.stdout.readline().split())
            with socket.create_server(("127.77.1.1", 0)) as refusing:
                refused = refusing.getsockname()[1]
            ports = [one.port] * count
            for place in range(part):  # spread over the fleet, as trouble is
                step = count * place // part
                ports[step : step + 3] = silent, refused, slow
            hosts = [(f"h{n:04}", fleet.Fleet.address(n), port) for n, port in enumerate(ports)]
            key = " ".join((one.folder / "host.pub").read_text().split()[:2])
            with (one.folder / "known_hosts").open("a") as known:
                known.writelines(f"[{address}]:{slow} {key}\n" for _, address, port in hosts if port == slow)
            healthy = [host for host in hosts if host[2] == one.port]
            output = one.folder / "answers"
            read(one, healthy[:20], output)
            alone = read(one, healthy, output)
            whole = read(one, hosts, output)
        finally:
            proxy.terminate()
            proxy.wait()
            if proxy.stdout:
                proxy.stdout.close()
    return {
        "hosts": count,
        "healthy": len(healthy),
        "healthy_wall": alone["wall"],
        "whole_wall": whole["wall"],
        "bound": 1.3 * alone["wall"] + DEADLINE,
        "answers": whole["answers"],
        "expected": count - 2 * part,
        "cpu_ms": whole["cpu"] / count * 1e3,
    }


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--serve"]:
        asyncio.run(serve(int(arguments[1])))
        return 0
    count = int(arguments[0] if arguments else os.environ.get("BENCH_N", "100"))
    began = time.monotonic()
    got = measure(count)
    print(
        f"\n{count} hosts, of which {count // 20} each hang, refuse and are slow ({time.monotonic() - began:.0f} s)\n"
    )
    print(json.dumps(got, indent=2))
    return 0 if got["whole_wall"] <= got["bound"] and got["answers"] == got["expected"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
