"""How a name server answers, against a small one on loopback."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent.probe import dns

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "127.0.0.1"


@contextlib.contextmanager
def name_server(*, lost: tuple[int, ...] = (), known: str = "shop.example") -> Iterator[int]:
    """Serve one name on loopback, with an address of each family; types in ``lost`` are not answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))

        def serve() -> None:
            while True:
                query, client = sock.recvfrom(512)
                if query == b"stop":
                    return
                end = query.index(b"\0", 12) + 5
                (kind,) = struct.unpack_from("!H", query, end - 4)
                if kind in lost:
                    continue
                there = query[12 : end - 5] == dns.query(0, known, 1)[12:-5]
                data = b"\x0a\0\0\x64" if kind == 1 else bytes(15) + b"\x01"
                record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
                flags = 0x8180 if there else 0x8183
                head = query[:2] + struct.pack("!HHHHH", flags, 1, int(there), 0, 0)
                sock.sendto(head + query[12:end] + (record if there else b""), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = sock.getsockname()[1]
        yield port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"stop", (LOCAL, port))
        thread.join(5)


def looked_up(port: int, name: str = "shop.example", **task: object) -> dns.Asked:
    given = {"server": LOCAL, "port": port, "names": [name], "tries": 1, "search": [], "ndots": 1, **task}
    (asked,) = dns.perform(given)
    return asked


def test_both_families_are_asked_at_once() -> None:
    with name_server() as port:
        asked = looked_up(port)
    assert sorted(asked.absolute[0].addresses) == ["10.0.0.100", "::1"]
    assert asked.absolute[0].sent == 2
    assert asked.absolute[0].ms < 1000


def test_a_lost_aaaa_answer_is_the_stall_of_five_seconds() -> None:
    """Here with 1 s instead of 5; the repetition asks for what was not answered only."""
    with name_server(lost=(28,)) as port:
        asked = looked_up(port, timeout=1, attempts=2)
    one = asked.absolute[0]
    assert one.slowest["AAAA"] is None
    assert one.slowest["A"] is not None
    assert one.slowest["A"] < 1000
    assert one.ms >= 2000
    assert one.sent == 3


def test_where_nobody_listens_there_is_no_answer_and_no_waiting() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))
        port = sock.getsockname()[1]
    asked = looked_up(port, timeout=5, attempts=2)
    assert asked.error == ""
    assert asked.absolute[0].slowest == {"A": None, "AAAA": None}
    assert asked.absolute[0].ms < 4000


def test_no_lookup_begins_when_the_time_is_over() -> None:
    with name_server(lost=(28,)) as port:
        asked = looked_up(port, tries=50, timeout=0.1, attempts=1, seconds=0.5)
    assert 2 <= len(asked.absolute) < 10
    assert asked.timeout == 0.1
    assert asked.refused in {0, None}, "nothing clashed here; None where this user may not read it"


def test_search_domains_cost_queries() -> None:
    with name_server() as port:
        asked = looked_up(port, search=["a.example", "b.example"], ndots=5)
    assert asked.relative[0].sent == 6
    assert asked.absolute[0].sent == 2
    assert asked.relative[0].addresses


def test_resolv_conf_is_read_as_the_c_library_does() -> None:
    text = (
        "# x\nnameserver 10.0.0.53\nnameserver ::1\nsearch a b\noptions ndots:5 timeout:2 attempts:3 rotate\nsortlist\n"
    )
    found = dns.resolver(text)
    assert found == dns.Resolver(["10.0.0.53", "::1"], ["a", "b"], 5, 2, 3)
    assert dns.candidates("shop.example", found) == ["shop.example.a", "shop.example.b", "shop.example"]
    assert dns.candidates("shop.example", dns.Resolver(search=["a"])) == ["shop.example", "shop.example.a"]


@pytest.mark.parametrize("data", [b"", b"\0" * 12, b"\0\0\x80\0\0\1\0\0\0\0\0\0\5", b"\0\0\x80\0\0\0\0\2\0\0\0\0\xc0"])
def test_a_damaged_answer_is_none(data: bytes) -> None:
    assert dns.answer(data) is None


def test_a_name_that_is_none_is_said() -> None:
    with name_server() as port:
        assert "too long" in looked_up(port, "a" * 64 + ".example").error
