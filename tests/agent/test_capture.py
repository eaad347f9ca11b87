"""The sensor against a real kernel: frames of every kind go over a cable, and what is heard at its end is decoded."""

from __future__ import annotations

import base64
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from hostaudit.trace.frames import Frame, frames
from hostaudit_agent.capture.live import Live
from hostaudit_agent.capture.sensor import Request, Sensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Space

    from hostaudit_agent.capture.answer import Heard

CLIENT, VIP, OTHER = "10.0.0.10", "10.0.0.100", "10.0.0.7"
CLIENT6, VIP6 = "2001:db8::10", "2001:db8::100"
PORTS = (61000, 61009)
SECRET = b"what people say to each other"
ETHERNET = bytes.fromhex("02000000000202000000000a")


def tcp(sport: int = 61003, dport: int = 8080, options: bytes = b"\x02\x04\x05\xb4") -> bytes:
    words = (5 + len(options) // 4) << 4
    return struct.pack("!HHIIBBHHH", sport, dport, 7, 0, words, 2, 1000, 0, 0) + options + SECRET


def ipv4(payload: bytes, *, protocol: int = 6, target: str = VIP, fragment: int = 0, options: bytes = b"") -> bytes:
    source, to = socket.inet_aton(CLIENT), socket.inet_aton(target)
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, length, 1, fragment, 61, protocol, 0)
    return head + source + to + options + payload


def ipv6(payload: bytes, *, following: int = 6, target: str = VIP6) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, CLIENT6) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 60) + addresses + payload


def ethernet(packet: bytes, *tags: tuple[int, int]) -> bytes:
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return ETHERNET + b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", kind) + packet


def udp(payload: bytes, port: int) -> bytes:
    return struct.pack("!HHHH", 5555, port, 8 + len(payload), 0) + payload


def vxlan(packet: bytes, port: int = 8472) -> bytes:
    return udp(struct.pack("!II", 8 << 24, 42 << 8) + ethernet(packet), port)


def geneve(packet: bytes, options: bytes = b"\0" * 12) -> bytes:
    return udp(struct.pack("!BBHI", len(options) // 4, 0, 0x6558, 42 << 8) + options + ethernet(packet), 6081)


@pytest.fixture
def cable(netns: Callable[[], Space]) -> Iterator[Callable[..., tuple[Heard, list[Frame]]]]:
    """Send frames over a cable and return what the sensor at its end heard."""
    near, far = netns(), netns()
    # frames that are sent before the cable has carrier are lost
    near.ip(f"link add near0 type veth peer name far0 netns {far.name}", "link set near0 up")
    far.ip("link set far0 up")
    end = time.monotonic() + 20
    while "LOWER_UP" not in near.run("ip", "link", "show", "near0") and time.monotonic() < end:
        time.sleep(0.02)
    with near.entered():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind(("near0", 0))

    def hear(*sent: bytes, **wanted: object) -> tuple[Heard, list[Frame]]:
        given = {"addresses": [VIP, VIP6], "ports": list(PORTS), **wanted}
        with far.entered():
            sensor = Sensor(Request(**given))  # type: ignore[arg-type]
        for frame in sent:
            out.send(frame)
        heard = sensor.listen(Live(""))
        assert SECRET[:4] not in base64.b64decode(heard.records)
        return heard, frames(heard, "h1")

    yield hear
    out.close()


@pytest.mark.parametrize(
    ("frame", "vlan", "tunnel", "ttl"),
    [
        (ethernet(ipv4(tcp())), None, "", 61),
        (ethernet(ipv4(tcp(), options=b"\x01" * 8)), None, "", 61),
        (ethernet(ipv4(tcp(options=b""))), None, "", 61),
        (ethernet(ipv6(tcp())), None, "", 60),
        (ethernet(ipv4(tcp()), (0x8100, 101)), 101, "", 61),
        (ethernet(ipv6(tcp()), (0x8100, 4094)), 4094, "", 60),
        (ethernet(ipv4(tcp()), (0x88A8, 200), (0x8100, 101)), 101, "", 61),
        (ethernet(ipv4(vxlan(ipv4(tcp())), protocol=17, target=OTHER)), None, "VXLAN", 61),
        (ethernet(ipv4(vxlan(ipv6(tcp()), 4789), protocol=17, target=OTHER)), None, "VXLAN", 60),
        (ethernet(ipv6(vxlan(ipv4(tcp())), following=17)), None, "VXLAN", 61),
        (ethernet(ipv4(geneve(ipv4(tcp())), protocol=17, target=OTHER)), None, "Geneve", 61),
        (ethernet(ipv4(vxlan(ipv4(tcp())), protocol=17, target=OTHER), (0x8100, 7)), 7, "VXLAN", 61),
    ],
    ids=[
        *("IPv4", "IP options", "no TCP options", "IPv6", "VLAN", "VLAN IPv6", "QinQ"),
        *("VXLAN", "VXLAN with IPv6", "VXLAN over IPv6", "Geneve", "VXLAN in VLAN"),
    ],
)
def test_a_segment_of_the_probe_is_heard(
    cable: Callable[..., tuple[Heard, list[Frame]]], frame: bytes, vlan: int | None, tunnel: str, ttl: int
) -> None:
    heard, (one,) = cable(frame, packets=1, seconds=20)
    assert (heard.packets, heard.drops, heard.ended) == (1, 0, "packets")
    assert (one.device, one.out, one.vlan, one.tunnel, one.ttl) == ("far0", False, vlan, tunnel, ttl)
    assert (one.sport, one.dport, one.seq, one.flags) == (61003, 8080, 7, 2)
    assert one.mac == "02:00:00:00:00:0a"


def test_nothing_else_is_heard(cable: Callable[..., tuple[Heard, list[Frame]]]) -> None:
    _, (one,) = cable(
        ethernet(ipv4(tcp(), target=OTHER)),
        ethernet(ipv4(tcp(sport=60999))),
        ethernet(ipv4(tcp(sport=61010))),
        ethernet(ipv4(tcp(), fragment=100)),
        ethernet(ipv4(udp(SECRET, 53), protocol=17)),
        ethernet(ipv4(vxlan(ipv4(tcp(), target=OTHER)), protocol=17)),
        ethernet(ipv4(tcp(dport=22))),
        ethernet(ipv6(tcp(), target=CLIENT6)),
        ETHERNET + struct.pack("!H", 0x0806) + bytes(28),
        ethernet(ipv4(tcp(sport=61009))),
        packets=1,
        seconds=20,
    )
    assert one.sport == 61009, "the last one, which is of the probe"


def test_without_addresses_the_ports_decide(cable: Callable[..., tuple[Heard, list[Frame]]]) -> None:
    sent = (ethernet(ipv4(tcp(sport=5))), ethernet(ipv4(tcp(), target=OTHER)))
    _, (one,) = cable(*sent, addresses=[], packets=1, seconds=20)
    assert one.sport == 61003


def test_frames_that_find_the_queue_full_are_counted(cable: Callable[..., tuple[Heard, list[Frame]]]) -> None:
    heard, _ = cable(*[ethernet(ipv4(tcp()))] * 500, queue=1, seconds=3)
    assert heard.drops > 0
    assert heard.packets + heard.drops == 500


@pytest.mark.parametrize(("bound", "value", "least"), [("packets", 5, 5), ("bytes", 400, 4)])
def test_its_bounds_end_it(cable: Callable[..., tuple[Heard, list[Frame]]], bound: str, value: int, least: int) -> None:
    heard, _ = cable(*[ethernet(ipv4(tcp()))] * 50, **{bound: value}, seconds=20)
    assert heard.ended == bound
    assert least <= heard.packets < 50


def test_the_controllers_word_ends_it(netns: Callable[[], Space]) -> None:
    reading, writing = os.pipe()
    back, out = os.pipe()
    with netns().entered():
        sensor = Sensor(Request([VIP], list(PORTS), seconds=30))
    live = Live(f"{reading} {out} nonce")
    live.ready()
    assert os.read(back, 100) == b"\nnonce live\n"
    threading.Timer(0.1, os.write, (writing, b"stop\n")).start()
    heard = sensor.listen(live)
    assert heard.ended == "asked"
    assert heard.seconds < 10
    for descriptor in (reading, writing, back, out):
        os.close(descriptor)


def test_without_the_right_to_listen_it_says_so() -> None:
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Sensor(Request([VIP], list(PORTS)))
        return
    os.seteuid(65534)  # the effective capabilities go with it (capabilities(7))
    try:
        with pytest.raises(PermissionError):
            Sensor(Request([VIP], list(PORTS)))
    finally:
        os.seteuid(0)
