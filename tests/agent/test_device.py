"""Devices: what a real kernel counts of real packets, and what drivers say."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import UnreadableError, device
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hostaudit_agent.snapshot import Device


def quiet(part: str, why: str) -> None:
    raise AssertionError(f"{part}: {why}")


def pair(netns: Callable[[], Any]) -> Any:
    here, there = netns(), netns()
    here.ip(
        f"link add a0 type veth peer name b0 netns {there.name}",
        "addr add 192.0.2.1/24 dev a0",
        "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev a0",
        "link set a0 up",
        "link add vx0 type vxlan id 42 dev a0 remote 192.0.2.2 dstport 4789",
    )
    there.ip("link set b0 up")
    return here


def by_name(table: Any) -> dict[str, Device]:
    return {one.name: one for one in table.devices}


@pytest.mark.lab
def test_a_queue_that_drops_is_counted(netns: Callable[[], Any]) -> None:
    here = pair(netns)
    here.run("tc", "qdisc", "add", "dev", "a0", "root", "tbf", "rate", "80kbit", "burst", "2k", "limit", "4k")
    with here.entered():
        before = device.sample(Root())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for _ in range(50):
                s.sendto(bytes(1000), ("192.0.2.2", 9))
        found = by_name(device.collect(Root(), before, quiet))
    a0 = found["a0"]
    assert (a0.qdisc, a0.speed, a0.duplex) == ("tbf", 10000, "full"), "what the driver of veth says"
    assert a0.delta is not None
    shown = here.run("tc", "-s", "qdisc", "show", "dev", "a0")
    assert a0.delta["qdisc.drops"] == int(shown.partition("dropped ")[2].partition(",")[0])
    assert a0.delta["qdisc.drops"] + a0.delta["tx_packets"] + a0.totals["qdisc.qlen"] >= 50
    assert "lo" not in found


@pytest.mark.lab
def test_checksum_offload_of_a_tunnel_is_read_and_its_speed_is_that_of_the_link_below(netns: Callable[[], Any]) -> None:
    here = pair(netns)
    with here.entered():
        vx0 = by_name(device.collect(Root(), None, quiet))["vx0"]
    assert (vx0.tx_checksum, vx0.speed, vx0.delta) == (True, 10000, None)


@pytest.mark.lab
def test_an_interface_that_is_new_has_no_difference(netns: Callable[[], Any]) -> None:
    here = pair(netns)
    with here.entered():
        before = device.sample(Root())
        here.ip("link add c0 type veth peer name c1")
        found = by_name(device.collect(Root(), before, quiet))
    assert found["c0"].delta is None
    assert found["a0"].delta is not None


@pytest.mark.lab
def test_of_very_many_interfaces_those_that_move_are_told(
    netns: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "MOST", 2)
    here = pair(netns)
    here.ip(*(f"link add n{n} type veth peer name m{n}" for n in range(4)))
    with here.entered():
        before = device.sample(Root())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", ("192.0.2.2", 9))
        table = device.collect(Root(), before, quiet)
    assert "a0" in by_name(table)
    assert len(table.devices) == 2
    assert table.left_out == 8


@pytest.mark.lab
def test_a_hundred_interfaces_cost_little(netns: Callable[[], Any], work: Any) -> None:
    here = netns()
    here.ip(*(f"link add n{n} type veth peer name m{n}" for n in range(50)))
    with here.entered(), work.counted():
        device.collect(Root(), device.sample(Root()), quiet)
    assert work.calls < 100 * 250


def test_a_captured_tree_has_no_devices(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no kernel to ask"):
        device.sample(Root(str(tmp_path)))
