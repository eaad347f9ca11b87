from __future__ import annotations

import errno
import os
import socket
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostaudit_agent import netlink
from hostaudit_agent.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink, attribute, attributes, text, walk

RTM_GETLINK, IFLA_IFNAME, IFLA_MTU = 18, 3, 4
MULTI = 2


def message(kind: int, payload: bytes, sequence: int, flags: int = MULTI) -> bytes:
    return netlink.header.pack(16 + len(payload), kind, flags, sequence, 0) + payload + bytes(-len(payload) % 4)


def status(kind: int, code: int, sequence: int) -> bytes:
    return message(kind, struct.pack("=i", -code), sequence)


class Kernel(Netlink):
    """A client whose socket is a script: for each request, the datagrams that answer it."""

    def __init__(self, *scripts: object, timeout: float = 5.0) -> None:
        self.scripts = list(scripts)
        self.opened = self.requests = 0
        super().__init__(NETLINK_ROUTE, timeout)

    def _open(self) -> socket.socket:
        self.opened += 1
        return self  # type: ignore[return-value]

    def close(self) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def send(self, data: bytes) -> None:
        self.requests += 1
        script = self.scripts.pop(0)
        self.answers = script(netlink.header.unpack_from(data)[3]) if callable(script) else list(script)

    def recvfrom_into(self, buffer: bytearray, _: int, __: int) -> tuple[int, tuple[int, int]]:
        if not self.answers:
            raise TimeoutError
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        buffer[: len(answer)] = answer
        return len(answer), (0, 0)


def one(flags: int = MULTI):
    return lambda seq: [message(16, b"abcd", seq, flags), status(netlink.NLMSG_DONE, 0, seq)]


def test_dump_returns_type_and_payload_of_every_message() -> None:
    def answer(seq: int) -> list[bytes]:
        return [message(16, b"abcd", seq) + message(17, b"xy", seq), status(netlink.NLMSG_DONE, 0, seq)]

    assert Kernel(answer).dump(18) == [(16, b"abcd"), (17, b"xy")]


def test_messages_with_another_sequence_number_are_left_aside() -> None:
    def answer(seq: int) -> list[bytes]:
        return [message(16, b"old!", seq + 7), message(16, b"new!", seq) + status(netlink.NLMSG_DONE, 0, seq)]

    assert Kernel(answer).dump(18) == [(16, b"new!")]


@pytest.mark.parametrize("kind", [netlink.NLMSG_ERROR, netlink.NLMSG_DONE])
def test_the_kernels_error_is_an_oserror(kind: int) -> None:
    with pytest.raises(PermissionError):
        Kernel(lambda seq: [status(kind, errno.EPERM, seq)]).dump(18)


def test_a_request_does_not_wait_for_an_end_that_never_comes() -> None:
    assert Kernel(lambda seq: [message(0x105, b"1234", seq, MULTI)]).request(0x105) == (0x105, b"1234")


def test_an_interrupted_dump_is_taken_again() -> None:
    kernel = Kernel(one(netlink.NLM_F_DUMP_INTR), [OSError(errno.ENOBUFS, "")], one())
    assert kernel.dump(18) == [(16, b"abcd")]
    assert kernel.requests == 3


def test_a_dump_that_is_always_interrupted_ends() -> None:
    kernel = Kernel(*[one(netlink.NLM_F_DUMP_INTR)] * 50)
    with pytest.raises(netlink.DumpInterruptedError):
        kernel.dump(18)
    assert kernel.requests == netlink.ATTEMPTS


def test_silence_ends_with_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        Kernel([]).dump(18)


def test_a_stream_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "MAX_ANSWER", 1 << 16)
    with pytest.raises(OSError, match="longer than"):
        Kernel(lambda seq: [message(16, bytes(1000), seq)] * 1000).dump(18)


def test_a_stream_left_early_does_not_disturb_the_next_request() -> None:
    kernel = Kernel(lambda seq: [message(16, b"abcd", seq)] * 3, one())
    for _ in kernel.stream(18):
        break
    assert kernel.dump(18) == [(16, b"abcd")]
    assert kernel.opened == 2


@pytest.mark.parametrize("together", [True, False])
def test_a_stream_ends_wherever_the_kernel_puts_the_end(*, together: bool) -> None:
    def answer(seq: int) -> list[bytes]:
        parts = [message(16, b"abcd", seq), status(netlink.NLMSG_DONE, 0, seq)]
        return [b"".join(parts)] if together else parts

    assert sum(size for _, size in Kernel(answer).stream(18)) == 40


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(deadline=None)
def test_garbage_is_an_oserror(datagrams: list[bytes]) -> None:
    for call in (lambda k: k.dump(18), lambda k: k.request(18), lambda k: list(k.stream(18))):
        with pytest.raises(OSError, match=r"."):
            call(Kernel(datagrams))


@given(st.binary(max_size=100))
def test_attributes_of_garbage_end_or_say_so(data: bytes) -> None:
    try:
        found = list(walk(data))
    except OSError as error:
        assert error.errno == errno.EBADMSG  # noqa: PT017 - both outcomes are right
    else:
        assert sum(4 + len(value) for _, value in found) <= len(data)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_round_trip(pairs: list[tuple[int, bytes]]) -> None:
    packed = b"".join(attribute(kind | 0x8000, value) for kind, value in pairs)
    assert list(walk(packed)) == pairs
    assert attributes(packed) == dict(pairs)


def test_text_stops_at_the_first_nul_and_survives_bad_bytes() -> None:
    assert text(b"eth0\0x") == "eth0"
    assert text(b"\xff\0") == "\ufffd"


def test_links_of_this_namespace() -> None:
    with Netlink(NETLINK_ROUTE) as nl:
        links = [attributes(payload, 16) for _, payload in nl.dump(RTM_GETLINK, bytes(16))]
    assert [text(link[IFLA_IFNAME]) for link in links] == [name for _, name in socket.if_nameindex()]


def test_a_live_request_without_answer_ends() -> None:
    with Netlink(NETLINK_ROUTE, timeout=0.2) as nl:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            nl.request(1)  # NLMSG_NOOP: the kernel says nothing
        assert time.monotonic() - began < 2


@pytest.mark.lab
def test_an_unknown_subsystem_is_an_error() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: nfnetlink answers EPERM otherwise")
    with Netlink(NETLINK_NETFILTER) as nl, pytest.raises(OSError, match="Invalid argument"):
        nl.request(0xFFF0, bytes(4))
