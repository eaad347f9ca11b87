from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit_agent import budget
from hostaudit_agent.budget import Budget
from hostaudit_agent.collectors import conntrack
from hostaudit_agent.netfilter import census, talkers
from hostaudit_agent.netlink import NETLINK_NETFILTER, Netlink, attribute, header
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.snapshot import Census

NESTED = 0x8000


def entry(protocol: int, state: int, status: int, extra: bytes = b"") -> bytes:
    """Return a ctnetlink message for one IPv4 entry."""
    addresses = attribute(1, socket.inet_aton("10.0.0.10")) + attribute(2, socket.inet_aton("10.0.0.100"))
    ports = attribute(1, bytes([protocol])) + attribute(2, b"\x4e\x29") + attribute(3, b"\x1f\x90")
    both = attribute(1 | NESTED, addresses) + attribute(2 | NESTED, ports)
    body = b"\2\0\0\0" + attribute(1 | NESTED, both) + extra + attribute(3, struct.pack(">I", status))
    if protocol == census.TCP:
        body += attribute(4 | NESTED, attribute(1 | NESTED, attribute(1, bytes([state]))))
    return header.pack(16 + len(body), census.CT_NEW, 2, 1, 0) + body


class Stream:
    """Stands for a Netlink whose dump is given."""

    timeout = 5.0

    def __init__(self, *datagrams: bytes) -> None:
        self.datagrams = datagrams

    def stream(self, *_: Any) -> Iterator[tuple[bytearray, int]]:
        for datagram in self.datagrams:
            yield bytearray(datagram.ljust(1 << 17, b"\xaa")), len(datagram)


def test_entries_are_counted_by_kind() -> None:
    nl = Stream(entry(6, 3, 2) + entry(6, 1, 0), entry(17, 0, 0) + entry(47, 0, 2))
    found = census.count(nl)  # type: ignore[arg-type]
    assert (found.entries, found.ipv4, found.ipv6, found.unreplied, found.truncated) == (4, 4, 0, 2, False)
    assert found.protocols == {"tcp": 2, "udp": 1, "gre": 1}
    assert found.tcp == {"SYN_SENT": 1, "ESTABLISHED": 1}
    assert found.one_sided == ["10.0.0.10:20009>10.0.0.100:8080"]


def test_entries_of_equal_length_and_different_layout_are_told_apart() -> None:
    before, after = attribute(8, b"\0\0\0\7"), attribute(12, b"\0\0\0\7")
    late = entry(6, 4, 2)
    late = header.pack(len(late) + 8, census.CT_NEW, 2, 1, 0) + late[16:] + after
    found = census.count(Stream(entry(6, 3, 0, before) + late + entry(6, 3, 0, before)))  # type: ignore[arg-type]
    assert found.tcp == {"ESTABLISHED": 2, "FIN_WAIT": 1}
    assert found.unreplied == 2


def test_a_large_table_is_sampled() -> None:
    datagram = entry(6, 3, 2) * 100
    found = census.count(Stream(*[datagram] * 300), expected=30_000)  # type: ignore[arg-type]
    assert (found.entries, found.sampled) == (30_000, 10_000)
    assert (found.sources, found.targets) == ({"10.0.0.10": 1.0}, {"tcp 10.0.0.100:8080": 1.0})


def test_a_table_that_grew_does_not_grow_the_sample() -> None:
    found = census.count(Stream(*[entry(17, 0, 0) * 100] * 400), expected=1)  # type: ignore[arg-type]
    assert (found.entries, found.sampled) == (40_000, 20_000)


def test_the_bound_is_kept_and_said() -> None:
    found = census.count(Stream(*[entry(17, 0, 0) * 10] * 10), limit=25)  # type: ignore[arg-type]
    assert (found.entries, found.truncated) == (30, True)


def test_a_kernel_that_ignores_the_filter_does_not_mislead() -> None:
    found = census.one_sided(Stream(entry(6, 1, 2) + entry(6, 3, 0) + entry(6, 1, 0)))  # type: ignore[arg-type]
    assert (found.entries, found.truncated, found.unreplied, len(found.one_sided)) == (0, True, 2, 1)


def test_at_most_64_tuples() -> None:
    found = census.one_sided(Stream(*[entry(6, 1, 0) * 100] * 3))  # type: ignore[arg-type]
    assert len(found.one_sided) == census.MAX_ONE_SIDED


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_skipped(garbage: bytes) -> None:
    try:
        census.count(Stream(garbage, entry(6, 3, 2) + garbage))  # type: ignore[arg-type]
    except OSError as error:
        assert "conntrack entry" in str(error) or "netlink attribute" in str(error)  # noqa: PT017 - both are right


@given(st.integers(16, 200), st.integers(0, 255))
def test_a_damaged_entry_is_refused_or_counted(at: int, value: int) -> None:
    damaged = bytearray(entry(6, 3, 2) * 2)
    damaged[at % len(damaged)] = value
    with contextlib.suppress(OSError):
        census.count(Stream(bytes(damaged)))  # type: ignore[arg-type]


# ---- a real kernel

TABLE = [
    *(
        f"-p tcp -s 10.0.0.{n} -d 10.1.0.1 --sport {n} --dport 80 --state ESTABLISHED -u SEEN_REPLY,ASSURED"
        for n in range(1, 9)
    ),
    *(f"-p tcp -s 10.0.0.{n} -d 10.1.0.1 --sport 9{n} --dport 443 --state SYN_SENT" for n in range(1, 4)),
    "-p tcp -s 10.0.0.1 -d 10.1.0.1 --sport 77 --dport 443 --state TIME_WAIT -u SEEN_REPLY",
    "-p udp -s 10.0.0.1 -d 10.1.0.1 --sport 53 --dport 53",
    "-p udp -s fd00::1 -d fd00::2 --sport 53 --dport 53 -u SEEN_REPLY",
    "-p tcp -s fd00::1 -d fd00::2 --sport 1 --dport 2 --state SYN_SENT",
    "-p icmp -s 10.0.0.1 -d 10.1.0.1 --icmp-type 8 --icmp-code 0 --icmp-id 7",
]


@pytest.fixture
def filled(netns: Callable[[], Any]) -> Any:
    space = netns()
    for line in TABLE:
        space.run("conntrack", "-I", "-t", "300", *line.split())
    return space


@pytest.mark.lab
def test_the_same_as_conntrack_lists(filled: Any) -> None:
    listed = [
        line.split()
        for family in ("ipv4", "ipv6")
        for line in filled.run("conntrack", "-L", "-f", family, "-o", "extended").splitlines()
    ]
    with filled.entered(), Netlink(NETLINK_NETFILTER) as nl:
        found = census.count(nl)
    assert (found.ipv4, found.ipv6) == tuple(Counter(words[0] for words in listed)[kind] for kind in ("ipv4", "ipv6"))
    assert found.protocols == Counter(words[2] for words in listed)
    assert found.tcp == Counter(words[5] for words in listed if words[2] == "tcp")
    assert found.unreplied == sum("[UNREPLIED]" in words for words in listed)
    assert found.one_sided == [
        "10.0.0.1:91>10.1.0.1:443", "10.0.0.2:92>10.1.0.1:443", "10.0.0.3:93>10.1.0.1:443", "[fd00::1]:1>[fd00::2]:2",
    ]  # fmt: skip
    assert found.sampled == len(TABLE)
    sources = Counter(next(w[4:] for w in words if w.startswith("src=")) for words in listed)
    assert len(found.sources) == talkers.TOP
    assert {name: round(share * len(TABLE)) for name, share in found.sources.items()} == {
        name: sources[name] for name in found.sources
    }
    assert next(iter(found.sources)) == "10.0.0.1"
    assert list(found.targets)[:2] == ["tcp 10.1.0.1:80", "tcp 10.1.0.1:443"]
    assert {"icmp 10.1.0.1", "tcp [fd00::2]:2"} <= {*found.targets}


@pytest.mark.lab
def test_only_the_waiting_ones_unless_asked(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(part: str, reason: str) -> None:
        raise AssertionError(f"{part}: {reason}")

    def counted(*, asked: bool = False) -> Census | None:
        found = conntrack.collect(Root(), None, unread)
        conntrack.later(Root(), found, unread, census=asked)
        return found.census

    with filled.entered():
        quick = counted()
        whole = counted(asked=True)
        monkeypatch.setattr(conntrack, "CENSUS_FILL", 1e-6)
        full = counted()
        monkeypatch.undo()
        monkeypatch.setattr(conntrack, "ONE_SIDED_ENTRIES", 3)
        none = counted()

    assert quick is not None
    assert whole is not None
    assert (quick.entries, quick.truncated, len(quick.one_sided)) == (0, True, 4)
    assert (whole.entries, whole.truncated, whole.one_sided) == (len(TABLE), False, quick.one_sided)
    assert full == whole
    assert none is None


@pytest.mark.lab
def test_without_time_the_census_alone_is_missing(filled: Any) -> None:
    said: list[str] = []
    with filled.entered():
        found = conntrack.collect(Root(), None, lambda part, why: said.append(f"{part}: {why}"))
        budget.begin(Budget(cpu=0.001))
        try:
            conntrack.later(Root(), found, lambda part, why: said.append(f"{part}: {why}"), census=True)
        finally:
            budget.end()
    assert found.count == len(TABLE)
    assert found.census is None
    assert said == ["census: budget: 0.001 s of CPU time are used up"]
