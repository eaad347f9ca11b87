"""Handshakes, ARP frames and path MTU, against real sockets of this machine's loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent import probe
from hostaudit_agent.probe import arp, mtu, tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCAL = "127.0.0.1"
AGENT = Path(__file__).resolve().parents[2] / "agent"


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], object], family: int = socket.AF_INET) -> Iterator[int]:
    """Serve on loopback; ``answer`` gets each connection. Yields the port."""
    with socket.socket(family) as listener:
        listener.bind(("::1" if family == socket.AF_INET6 else LOCAL, 0))
        listener.listen(64)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def greet(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.recv(100)
        connection.sendall(b"220 ready\r\n")


def hold(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):  # the probe resets what it gave up
        while connection.recv(100):
            pass
        time.sleep(0.5)


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def tried(port: int, **options: object) -> list[tcp.Connection]:
    given = {"count": 6, "interval": 0.005, "timeout": 1.0, **options}
    return tcp.run(tcp.Request([tcp.Target(str(given.pop("address", LOCAL)), port)], **given))  # type: ignore[arg-type]


# ---- tcp


@pytest.mark.parametrize("answer", [greet, hold, close])
def test_a_handshake_counts_when_its_end_is_acknowledged(answer: Callable[[socket.socket], object]) -> None:
    with server(answer) as port:
        found = tried(port)
    assert [one.outcome for one in found] == ["ok"] * 6
    assert all(one.connect_ms is not None and one.connect_ms < 1000 for one in found)


def test_each_connection_has_a_source_port_of_its_own_in_order() -> None:
    with server(greet) as port:
        found = tried(port, ports=[61500, 61520], first=61518)
    assert [one.source_port for one in found] == [61518, 61519, 61520, 61500, 61501, 61502]
    assert {one.source for one in found} == {LOCAL}


def test_a_source_port_that_is_taken_is_left_out() -> None:
    with server(greet) as port, socket.socket() as taken:
        taken.bind((LOCAL, 61601))
        taken.listen()
        found = tried(port, ports=[61600, 61620], first=61600)
    assert [one.source_port for one in found][:3] == [61600, 61602, 61603]


def test_two_targets_do_not_share_odd_and_even_ports() -> None:
    with server(greet) as port:
        found = tcp.run(tcp.Request([tcp.Target(LOCAL, port), tcp.Target(LOCAL, port)], count=4, interval=0.005))
    for number in (0, 1):
        assert sorted(one.source_port % 2 for one in found if one.target == number) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("answer", "send", "expect", "outcome"),
    [
        (greet, "", "220", "ok"),
        (greet, "hello\r\n", "ready", "ok"),
        (greet, "hello", "", "ok"),
        (greet, "hello", "250", "unexpected"),
        (hold, "hello", "220", "silent"),
        (close, "", "220", "closed"),
        (reset, "", "220", "reset"),
        (reset, "", "", "ok"),  # it has heard us, and we have heard it
    ],
)
def test_the_second_stage(answer: Callable[[socket.socket], object], send: str, expect: str, outcome: str) -> None:
    if (send, expect) == ("", "220") and answer is greet:
        send = "x"  # this server speaks when it is spoken to
    with server(answer) as port:
        found = tried(port, count=2, timeout=0.5, send=send, expect=expect)
    assert {one.outcome for one in found} == {outcome}, found


def test_a_closed_port_refuses() -> None:
    with socket.socket() as unused:
        unused.bind((LOCAL, 0))
        (found,) = tried(unused.getsockname()[1], count=1)
    assert (found.outcome, found.errno, found.connect_ms) == ("refused", "ECONNREFUSED", None)


def test_ipv6() -> None:
    with server(greet, socket.AF_INET6) as port:
        found = tried(port, address="::1", count=2)
    assert [(one.outcome, one.source) for one in found] == [("ok", "::1")] * 2


def test_what_cannot_be_tried_here_says_nothing_about_the_target() -> None:
    (found,) = tried(443, count=1, source="192.0.2.1")
    assert (found.outcome, found.errno) == ("local", "EADDRNOTAVAIL")


def test_it_can_be_stopped() -> None:
    began = time.monotonic()
    with server(greet) as port:
        tcp.run(
            tcp.Request([tcp.Target(LOCAL, port)], count=1000, interval=1), stop=lambda: time.monotonic() > began + 0.2
        )
    assert time.monotonic() - began < 5


# ---- the command


def test_the_command_answers_with_one_document_and_says_what_failed() -> None:
    with server(greet) as port:
        task = {
            "tcp": {"targets": [{"address": LOCAL, "port": port}], "count": 1},
            "arp": {"addresses": [LOCAL]},
            "tls": {},
        }
        command = [sys.executable, "-m", "hostaudit_agent", "probe", json.dumps(task)]
        done = subprocess.run(command, cwd=AGENT, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["tcp"][0]["outcome"] == "ok"
    assert answer["arp"][0]["mine"] is True
    assert "targets" in answer["errors"]["tls"]


@pytest.mark.parametrize("words", [[], ["{"], ["[]"]])
def test_a_task_that_is_none_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(words) == 2
    assert "one JSON object" in capsys.readouterr().err


# ---- arp


def test_the_probe_claims_no_address() -> None:
    frame = arp.probe(b"\x02\0\0\0\0\x01", "10.0.0.100")
    assert len(frame) == 42
    assert frame[:6] == b"\xff" * 6
    assert arp.read(frame) == (arp.REQUEST, "02:00:00:00:00:01", "0.0.0.0")
    assert frame[-4:] == bytes([10, 0, 0, 100])


@pytest.mark.parametrize("frame", [b"", b"\0" * 41, b"\0" * 60, arp.probe(b"\0" * 6, "10.0.0.1")[:30]])
def test_what_is_no_arp_is_left_out(frame: bytes) -> None:
    assert arp.read(frame) is None


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100000A 0003 0 0 100 00000000 0 0 0
eth0 0000000A 00000000 0001 0 0 100 00FFFFFF 0 0 0
eth1 6400000A 00000000 0001 0 0 0 FFFFFFFF 0 0 0
eth2 0000000A 00000000 0001 0 0 50 00FFFFFF 0 0 0
broken line
""".splitlines()


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is of a little-endian machine")
def test_the_longest_prefix_wins_then_the_metric() -> None:
    assert arp.route(ROUTES, "10.0.0.100") == ("eth1", "")
    assert arp.route(ROUTES, "10.0.0.7") == ("eth2", "")
    assert arp.route(ROUTES, "192.0.2.1") == ("eth0", "10.0.0.1")
    assert arp.route(ROUTES[:1], "192.0.2.1") is None


def test_ipv6_has_no_arp() -> None:
    assert "neighbour discovery" in arp.ask("::1", "", 1, 0.1).error


# ---- mtu


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert mtu._checksum(bytes.fromhex("00 01 f2 03 f4 f5 f6 f7")) == ~0xDDF2 & 0xFFFF


def test_the_echo_answers_its_own_peers_only_and_ends_with_them() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    echo = {"token": "secret", "port": port, "peers": 1, "seconds": 20}
    thread = threading.Thread(target=mtu.answer, args=(echo, threading.Event()), daemon=True)
    thread.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.3)
        stranger.sendto(b"x" * 100, (LOCAL, port))
        with pytest.raises(OSError, match=r"timed out|refused"):
            stranger.recv(200)
    (path,) = mtu.perform({"token": "secret", "port": port, "paths": [{"address": LOCAL, "udp": True}], "wanted": 9000})
    assert (path.verdict, path.mtu, path.echo) == ("ok", 65535, "udp")
    assert path.local_mtu is not None
    assert path.local_mtu >= 65535  # of the loopback interface, or the largest packet of IPv4
    thread.join(5)
    assert not thread.is_alive()
