"""What the tests of the packet filter share: recorded answers of the kernel, and packets in state INVALID."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent.netfilter import xtables

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data"


class Replay:
    """Answers netlink requests with what a kernel answered: ruleset.json was recorded with ruleset.nft loaded."""

    def __init__(self, change: Callable[[bytes], bytes] = bytes) -> None:
        self.answers: dict[str, list[str]] = json.loads((DATA / "ruleset.json").read_text())
        self.change = change

    def dump(self, kind: int, payload: bytes = b"", _: int = 0) -> list[tuple[int, bytes]]:
        key = f"{kind}:{payload.hex()}"
        return [(kind, self.change(bytes.fromhex(answer))) for answer in self.answers.get(key, [])]

    def request(self, kind: int, payload: bytes = b"", _: int = 0) -> tuple[int, bytes]:
        return self.dump(kind, payload)[0]


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def replay() -> type[Replay]:
    return Replay


@pytest.fixture(scope="session")
def recorded_table() -> xtables.Blob:
    """Return legacy.rules' filter table as a kernel handed it out."""
    saved = json.loads((DATA / "legacy.json").read_text())
    entries = {int(offset): hook for offset, hook in saved["hook_entries"].items()}
    return xtables.Blob(xtables.IPV4, "filter", entries, saved["underflows"], bytes.fromhex(saved["data"]))


@pytest.fixture(scope="session")
def syn_ack() -> Callable[..., None]:
    """Return the sender; without the right to send raw packets the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("needs root: sends raw packets")
    return send_syn_ack


def send_syn_ack(number: int, *, ipv6: bool = False) -> None:
    """Send SYN-ACKs that answer nothing over lo: INVALID for connection tracking, whatever its sysctls are."""
    segment = struct.pack("!HHIIBBHHH", 8080, 20009, 1, 1, 5 << 4, 0x12, 1024, 0, 0)
    if ipv6:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, 7, 16)  # IPV6_CHECKSUM: the kernel fills it in
            for _ in range(number):
                sock.sendto(segment, ("::1", 0))
        return
    address = socket.inet_aton("127.0.0.1")
    words = struct.unpack("!16H", address + address + struct.pack("!HH", 6, len(segment)) + segment)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    segment = segment[:16] + struct.pack("!H", checksum) + segment[18:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
        for _ in range(number):
            sock.sendto(segment, ("127.0.0.1", 0))
