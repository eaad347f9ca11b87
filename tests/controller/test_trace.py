"""What no lab shows: damaged and hostile captures, deaf and overrun sensors, and the wording."""

from __future__ import annotations

import base64
import json
import random
import struct

import pytest

from hostaudit.failures import HostError
from hostaudit.model import Host
from hostaudit.trace.connections import Attempt
from hostaudit.trace.document import Trace, document, made
from hostaudit.trace.fleet import Node, Role, role_of
from hostaudit.trace.frames import frames
from hostaudit.trace.groups import _share
from hostaudit.trace.pcapng import written
from hostaudit.trace.picture import page
from hostaudit.trace.table import table
from hostaudit_agent.capture.answer import Capture, Heard, record
from hostaudit_agent.snapshot import Link, LinkTable, Snapshot

VIP, CLIENT, PORT = "10.0.0.100", "10.0.0.10", 8080
UP, TAP = "eno1", "tap101i0"
SYN, SYN_ACK, ACK, RST = 2, 18, 16, 20


def packet(sport: int, flags: int, *, back: bool = False, ttl: int = 64) -> bytes:
    ends = (VIP, PORT, CLIENT, sport) if back else (CLIENT, sport, VIP, PORT)
    seq, ack = (500 if flags == SYN_ACK else 0, 101) if back else (100 if flags == SYN else 101, 0)
    source, from_, target, to = ends
    addresses = bytes(int(n) for n in f"{source}.{target}".split("."))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, ttl, 6, 0) + addresses
    return head + struct.pack("!HHIIBBHHH", from_, to, seq, ack, 5 << 4, flags, 1000, 0, 0)


def heard(*events: tuple[str, bool, bytes], **more: object) -> Heard:
    """Return what a sensor heard: (port, out, packet)."""
    names = list(dict.fromkeys(port for port, _, _ in events))
    data = b""
    for number, (port, out, raw) in enumerate(events):
        kind = 4 if out else 3
        head = (number, names.index(port), kind, 6, 1, 0x0800, 0, 40, len(raw), b"\2\0\0\0\0\1")
        data += record.pack(*head) + raw
    given = {"packets": len(events), "ended": "asked", **more}
    return Heard(ports=names, records=base64.b64encode(data).decode(), **given)  # type: ignore[arg-type]


def node(name: str, sensor: Heard | None, reason: str = "") -> Node:
    snapshot = Snapshot(agent="0", taken=0.0, interval=0.0, privileged=True)
    ports = ((UP, "", ""), (TAP, "tun", "vmbr0"), ("vmbr0", "bridge", ""))
    snapshot.link = LinkTable([Link(n, i, 1500, k, master=m) for i, (n, k, m) in enumerate(ports, 1)])
    return Node(Host(name), Capture(snapshot, sensor, refused=reason))


def passing(sport: int, flags: int, *, back: bool = False) -> list[tuple[str, bool, bytes]]:
    raw = packet(sport, flags, back=back)
    first, last = (TAP, UP) if back else (UP, TAP)
    return [(first, False, raw), ("vmbr0", False, raw), (last, True, raw)]


def trace(nodes: list[Node], *outcomes: tuple[int, str]) -> Trace:
    attempts = [Attempt(CLIENT, port, outcome) for port, outcome in outcomes]
    return made(nodes, (), attempts, VIP, PORT, target=f"{VIP}:{PORT}", vantage="here", started="")


def verdicts(found: Trace) -> list[str]:
    return [one.verdict.value for one in found.judged]


WORKS = [*passing(61001, SYN), *passing(61001, SYN_ACK, back=True), *passing(61001, ACK)]
DROPPED = [*passing(61001, SYN), *passing(61001, SYN_ACK, back=True)[:2]]


def test_a_connection_that_works() -> None:
    assert verdicts(trace([node("h1", heard(*WORKS))], (61001, "ok"))) == ["ok-symmetric"]


def test_a_bridges_own_device_is_no_proof_of_leaving() -> None:
    found = trace([node("h1", heard(*DROPPED))], (61001, "no-answer"))
    assert verdicts(found) == ["dropped-in-host"]
    assert "never left; vmbr0 still saw it" in found.judged[0].reason


def test_a_frame_that_a_switch_floods_to_a_host_was_not_dropped_there() -> None:
    stray = heard((UP, False, packet(61001, SYN)))
    found = trace([node("h1", heard(*passing(61001, SYN))), node("h2", stray)], (61001, "no-answer"))
    assert [(one.verdict.value, one.host) for one in found.judged] == [("no-syn-ack", "h1")]


@pytest.mark.parametrize("more", [{"drops": 1}, {"ended": "packets"}, {"ended": "bytes"}, {"ended": "time"}])
def test_silence_of_a_sensor_that_missed_frames_proves_nothing(more: dict[str, object]) -> None:
    nodes = [node("h1", heard(*DROPPED, **more))]
    assert verdicts(trace(nodes, (61001, "no-answer"))) == ["inconclusive"]
    nodes = [node("h1", heard(*WORKS, **more))]
    assert verdicts(trace(nodes, (61001, "ok"))) == ["ok-symmetric"]


@pytest.mark.parametrize("events", [[], passing(61001, SYN)], ids=["before", "no answer"])
def test_what_a_host_without_a_sensor_may_have_seen(events: list[tuple[str, bool, bytes]]) -> None:
    nodes = [node("h1", heard(*events)), node("h2", None, "listening needs CAP_NET_RAW")]
    found = trace(nodes, (61001, "no-answer"))
    assert verdicts(found) == ["inconclusive"]
    assert "h2" in found.judged[0].reason
    assert "CAP_NET_RAW" in table(found, 80)


def test_what_a_deaf_host_cannot_change_is_told_all_the_same() -> None:
    nodes = [node("h1", heard(*DROPPED)), node("h2", None, "x")]
    assert verdicts(trace(nodes, (61001, "no-answer"))) == ["dropped-in-host"]


def test_a_reset_that_no_guest_sent() -> None:
    made_here = [*passing(61001, SYN)[:2], (UP, True, packet(61001, RST, back=True))]
    found = trace([node("h1", heard(*made_here))], (61001, "refused"))
    assert [(one.verdict.value, one.host) for one in found.judged] == [("middlebox-reset", "h1")]
    from_network = [*passing(61001, SYN), (UP, False, packet(61001, RST, back=True))]
    assert verdicts(trace([node("h1", heard(*from_network))], (61001, "refused"))) == ["middlebox-reset"]
    assert verdicts(trace([node("h1", heard())], (61001, "refused"))) == ["middlebox-reset"]


def test_the_document_is_json_and_the_page_and_the_table_stand() -> None:
    found = trace([node("h1", heard(*DROPPED))], (61001, "no-answer"), (61002, "local"))
    text = json.dumps(document(found), allow_nan=False)
    assert json.loads(text)["counts"] == {"dropped-in-host": 1, "untried": 1}
    assert max(len(line) for line in table(found, 80).splitlines()) <= 80
    assert "Next: Look at that host's filters and queues" in table(found, 80), "no rule of it was read to drop INVALID"
    assert "<script" not in page(found)


def test_names_from_a_host_are_escaped_on_the_page() -> None:
    evil = "<img src=x>"
    events = [(UP, False, packet(61001, SYN)), (evil, True, packet(61001, SYN))]
    drawn = page(trace([node("h1", heard(*events))], (61001, "no-answer")))
    assert evil not in drawn
    assert "&lt;img src=x&gt;" in drawn


# ---- untrusted bytes


@pytest.mark.parametrize(
    "records", ["%%%", base64.b64encode(b"x" * 20).decode(), base64.b64encode(b"\0" * 60).decode()]
)
def test_a_damaged_capture_is_an_error_that_names_the_host(records: str) -> None:
    with pytest.raises(HostError, match="h1: the capture"):
        frames(Heard(records=records), "h1")


def test_any_bytes_of_a_frame_are_survived() -> None:
    chance = random.Random(1)  # noqa: S311 - the same frames every time
    whole = packet(61001, SYN)
    for _ in range(3000):
        raw = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            if raw:
                raw[chance.randrange(len(raw))] = chance.randrange(256)
        found = trace([node("h1", heard((UP, False, bytes(raw))))], (61001, "no-answer"))
        assert verdicts(found)[0] in {"syn-lost-before-fleet", "syn-dropped-in-host"}


# ---- files and words


def test_the_pcapng_file_has_its_blocks_in_order() -> None:
    data = written(heard(*WORKS), "h1")
    kinds, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, at + size - 4) == (size,)
        kinds.append(kind)
        at += size
    assert kinds == [0x0A0D0D0A, 1, 1, 1, *[6] * len(WORKS), 5]


@pytest.mark.parametrize(
    ("mine", "every", "said"),
    [
        ([61001, 61003], [61000, 61001, 61002, 61003], "2 of 2 odd ports"),
        ([61000], [61000, 61001, 61002], "1 of 2 even ports"),
        ([61000, 61001], [61000, 61001, 61002], "2 of 3 connections"),
        ([61001], [61001], "1 of 1 connections"),
    ],
)
def test_the_share_is_told_by_parity_where_it_fits(mine: list[int], every: list[int], said: str) -> None:
    assert _share(mine, every) == said


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, Role.GUEST) for name in ("tap101i0", "veth200i1", "vnet3", "lxc12ab3")),
        *((name, Role.UPLINK) for name in ("eno1", "bond0", "vmbr0")),
        *((name, Role.INSIDE) for name in ("fwln101i0", "fwpr101p0")),
    ],
)
def test_what_a_port_is(name: str, role: Role) -> None:
    assert role_of(name) is role
