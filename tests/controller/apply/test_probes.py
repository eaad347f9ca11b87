from __future__ import annotations

import socket
from typing import Any

import pytest

from hostaudit.apply import probes
from hostaudit.apply.guard import Reply
from hostaudit.errors import UsageError
from hostaudit.model import Host


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("10.0.0.100:5432", ("10.0.0.100", 5432)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("vip.example.net:80", ("vip.example.net", 80)),
    ],
)
def test_targets(target: str, expected: tuple[str, int]) -> None:
    assert probes.parse(target, "x") == expected


@pytest.mark.parametrize("target", ["10.0.0.1", ":80", "a:0", "a:65536", "a:http", "2001:db8::1:443", "a b:1", ""])
def test_a_target_that_cannot_be_names_its_host(target: str) -> None:
    host = Host("web1", (), {"hostaudit_probes": [target]})
    with pytest.raises(UsageError, match=r"web1: hostaudit_probes: .* is not ADDRESS:PORT"):
        probes.declared([host])


@pytest.mark.parametrize(("given", "expected"), [("a:1, b:2", ("a:1", "b:2")), (["a:1"], ("a:1",)), ([], ())])
def test_targets_are_a_list_or_a_text_with_commas(given: Any, expected: tuple[str, ...]) -> None:
    assert probes.declared([Host("h", (), {"hostaudit_probes": given})]) == {"h": expected}


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (True, True, False),
        (True, False, True),
        (False, False, False),  # it failed before: it says nothing about the change
        (False, True, False),
        (True, None, True),  # the gateway is not there any more
    ],
)
def test_what_worked_before_must_work_after(*, before: bool, after: bool | None, lost: bool) -> None:
    now = {} if after is None else {"tcp a:1": after}
    assert bool(probes.lost({"tcp a:1": before}, now)) is lost


def test_handshakes_are_real() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        targets = [f"127.0.0.1:{s.getsockname()[1]}" for s in (server, closed)]
        assert probes.handshakes(targets) == dict(zip(targets, (True, False), strict=True))


def test_each_host_gets_its_own_probes() -> None:
    replies = {"h": Reply("h", gateways={"10.0.0.1": True}), "g": Reply("g", failure="gone")}
    found = probes.results(["h", "g"], {"h": ("a:1",)}, {"a:1": False}, replies)
    assert found == {"h": {"tcp a:1": False, "gateway 10.0.0.1": True}, "g": {}}
