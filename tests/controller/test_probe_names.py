"""What ``run --probe`` makes of declarations that are wrong, and of names that have no address just now."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit import audit, inventory
from hostaudit.checks import all_checks
from hostaudit.cli import main
from hostaudit.login import Flags
from hostaudit.model import Collected, Host
from hostaudit_agent.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SNAPSHOT = Snapshot("0.1.0", 1.0, 3.0, privileged=True)
READS_PROBES = [check.id for check in all_checks().values() if "probes" in check.reads]


def host(name: str = "pve1", **variables: Any) -> Host:
    return Host(name, variables={f"hostaudit_{key}": value for key, value in variables.items()})


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_name_without_an_address_costs_no_other_answer(
    tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name servers are often what is broken; and ``pve9`` may be a name that only ssh's configuration knows."""
    monkeypatch.setattr(audit, "collected", lambda hosts, *_: [Collected(one, SNAPSHOT, 0.1) for one in hosts])
    file = tmp_path / "hosts.ini"
    declared = f"hostaudit_probes=127.0.0.1:{listening},shop.invalid:443"
    file.write_text(f"pve9.invalid hostaudit_management=22\nweb ansible_host=127.0.0.1 {declared}\n")
    assert main(["run", "-i", str(file), "--probe", "--show", "pass", "--format", "json", "-q"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["status"] for one in document["hosts"]} == {"pve9.invalid": "ok", "web": "ok"}
    found = [(f["check"], f["status"]) for f in document["findings"] if f["check"] in READS_PROBES]
    tls = ["tls-certificate-expiry", "tls-chain-incomplete", "tls-default-certificate"]
    lost = ["dns-round-robin-partial", "mgmt-plane-flap", *tls, "vip-handshake-failing"]
    assert sorted(found) == sorted([*((name, "unknown") for name in lost), ("vip-handshake-failing", "pass")])
    said = {f["check"]: f["summary"] for f in document["findings"] if f["status"] == "unknown"}
    assert said["mgmt-plane-flap"].startswith("pve9.invalid:22 of pve9.invalid could not be tried: the name could not")
    assert said["mgmt-plane-flap"].endswith("; declared by pve9.invalid: hostaudit_management")
    for check in lost[1:]:
        assert "could not be resolved from here" in said[check], check


@pytest.mark.parametrize(
    ("host_", "words", "says"),
    [
        (host(management="ssh"), (), "pve1: hostaudit_management: 'ssh' is neither a port, as in 22, nor"),
        (host(probes="10.0.0.100"), (), "pve1: hostaudit_probes: '10.0.0.100' is not TARGET:PORT"),
        (host(), (), "--probe: the inventory declares no address; set hostaudit_vips=10.0.0.100:443"),
        (host(vips="10.0.0.100:443"), ("--probe-from", "c1"), "--probe-from c1: needs the inventory"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_a_host_is_read(
    host_: Host,
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(inventory, "read", lambda *_, **__: ([host_], Flags()))
    monkeypatch.setattr(audit, "collected", lambda *_: pytest.fail("hosts were read"))
    assert main(["run", "--probe", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_same_in_a_probe_of_what_the_inventory_declares(
    listening: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = host("web", probes=[f"127.0.0.1:{listening}", "shop.invalid:443"])
    monkeypatch.setattr(inventory, "read", lambda *_, **__: ([declared], Flags()))
    assert main(["probe", "tcp", "-i", "web,", "--count", "2", "--every", "0.01"]) == 4
    said = capsys.readouterr().out
    assert "2/2" in said
    assert "could not be tried: the name could not be resolved from here" in said
    assert main(["probe", "tls", "-i", "web,", "--wait", "0.2"]) == 12, "the other one speaks no TLS"
    assert "shop.invalid:443  from here  ?" in capsys.readouterr().out
