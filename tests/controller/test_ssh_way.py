"""The way to a host: TCP, names, jump hosts, proxies, and what goes wrong on it."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.collect import CollectOptions, collect
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.lab

QUICK = CollectOptions(interval=0, connect_timeout=2, run_timeout=3)
LARGE = "document['unread'] = [{'surface': 'x', 'reason': os.urandom(20000).hex()}]"
Fleet = Any  # the fixture's class stands in conftest.py, which is no module to import from


def test_a_refused_and_a_silent_and_a_dead_port(fleet: Fleet, agent: bytes) -> None:
    with socket.create_server(("127.77.0.1", 0)) as silent, socket.socket() as full, socket.socket() as closed:
        full.bind(("127.77.0.1", 0))
        full.listen(0)
        closed.bind(("127.77.0.1", 0))
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        hosts = [fleet.host("plain", ansible_port=s.getsockname()[1]) for s in (closed, silent, full)]
        refused, mute, dead = collect(hosts, agent, QUICK)
        for filler in fillers:
            filler.close()
    assert isinstance(refused, Unreachable)
    assert isinstance(mute, Unreachable)
    assert isinstance(dead, Unreachable)
    assert (refused.kind, "refuses connections" in refused.reason) == ("connect", True)
    assert (mute.kind, "does not greet as an SSH server" in mute.reason) == ("timeout", True)
    assert (dead.kind, "does not answer on port" in dead.reason) == ("timeout", True)
    assert max(r.seconds for r in (refused, mute, dead)) < 4


def test_something_that_is_no_ssh_server(fleet: Fleet, agent: bytes) -> None:
    with socket.create_server(("127.77.0.1", 0)) as web:

        def serve() -> None:
            connection = web.accept()[0]
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        result = fleet.unreachable(fleet.host("plain", ansible_port=web.getsockname()[1]), agent)
    assert (result.kind, "not as an SSH server" in result.reason) == ("connect", True), result.reason


@pytest.mark.parametrize("name", ["no..name", "no such host"])
def test_a_name_that_cannot_be_resolved(fleet: Fleet, agent: bytes, name: str) -> None:
    result = fleet.unreachable(fleet.host("plain", ansible_host=name), agent)
    assert (result.kind, "cannot be resolved" in result.reason) == ("connect", True)


def test_jump_hosts_are_checked_and_passed(fleet: Fleet, agent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    config = fleet.directory / "jump-config"
    config.write_text(f"Host 127.77.0.*\n IdentityFile {fleet.directory}/id\n Include {fleet.directory}/config\n")
    via = [
        fleet.host("plain", n, ansible_ssh_common_args=f"-F {config} -J {jump}")
        for n, jump in (
            (1, f"plain@127.77.0.50:{fleet.port},plain@127.77.0.51:{fleet.port}"),
            (2, f"plain@127.77.0.50:{fleet.port},plain@127.77.0.51:{fleet.port}"),
            (3, f"plain@127.77.0.60:{fleet.port}"),
            (4, f"wrong@127.77.0.50:{fleet.port}"),
        )
    ]
    closed = fleet.host("plain", 5, ansible_port=1, ansible_ssh_common_args=via[0].variables["ansible_ssh_common_args"])
    one, two, changed, refused, behind = collect([*via, closed], agent, QUICK)
    assert isinstance(one, Collected), one
    assert isinstance(two, Collected), two
    assert isinstance(changed, Unreachable)
    assert (changed.kind, changed.reason.startswith("jump host: THE HOST KEY")) == ("host-key", True)
    assert isinstance(refused, Unreachable)
    assert (refused.kind, "jump host: " in refused.reason) == ("auth", True)
    assert isinstance(behind, Unreachable)
    assert (behind.kind, "the jump host cannot connect to" in behind.reason) == ("connect", True)
    assert capfd.readouterr() == ("", "")  # paramiko logs tracebacks, unless it is told not to


def test_a_proxy_command_is_used_and_its_words_are_told(fleet: Fleet, agent: bytes) -> None:
    relay = (
        "import socket,sys,threading,os;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
        "threading.Thread(target=lambda:[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')],daemon=True).start();"
        "[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')]"
    )
    script = fleet.directory / "relay.py"
    script.write_text(relay)
    args = f"-F {fleet.directory}/config -o ProxyCommand="
    host = fleet.host("plain", ansible_ssh_common_args=f"{args}'{fleet.python} {script} %h %p'")
    assert fleet.collected(host, agent).snapshot.privileged is False
    broken = fleet.host("plain", ansible_ssh_common_args=f"{args}'echo proxy is down >&2; exit 1'")
    result = fleet.unreachable(broken, agent)
    assert (result.kind, "proxy is down" in result.reason) == ("connect", True), result.reason


class Throttle:
    """A TCP proxy for one connection, with a delay each way and a rate, both of a bad link."""

    def __init__(self, target: tuple[str, int], delay: float, rate: float) -> None:
        self.delay, self.rate = delay, rate
        self.server = socket.create_server(("127.77.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, args=(target,))
        self.thread.start()

    def _serve(self, target: tuple[str, int]) -> None:
        with self.server, self.server.accept()[0] as client, socket.create_connection(target) as host:
            ways = [threading.Thread(target=self._carry, args=ends) for ends in ((client, host), (host, client))]
            for way in ways:
                way.start()
            for way in ways:
                way.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Read at the rate; every chunk arrives ``delay`` later, in order."""
        chunks: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        arrivals = threading.Thread(target=self._arrive, args=(chunks, sink))
        arrivals.start()
        free = 0.0
        with suppress(OSError):
            while data := source.recv(2000):
                free = max(free, time.monotonic()) + len(data) / self.rate
                chunks.put((free + self.delay, data))
        chunks.put((0.0, b""))
        arrivals.join()

    @staticmethod
    def _arrive(chunks: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with suppress(OSError):
            while (chunk := chunks.get())[1]:
                time.sleep(max(0.0, chunk[0] - time.monotonic()))
                sink.sendall(chunk[1])
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def test_a_slow_link_still_answers(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    """150 ms each way and 20 kB/s."""
    link = Throttle(("127.77.0.1", fleet.port), 0.15, 20_000)
    name = f"-F {fleet.directory}/config -o HostKeyAlias=slow -o StrictHostKeyChecking=no"
    host = fleet.host("plain", ansible_port=link.port, ansible_ssh_common_args=name)
    result = fleet.collected(host, fake_agent(LARGE + f"\n# {os.urandom(8000).hex()}"), CollectOptions(interval=0))
    assert 3 < result.seconds < 15
    link.thread.join(5)
    assert not link.thread.is_alive()
