"""Knobs: running and configured side by side, and what the kernel makes of conf.all and conf.<interface>."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import devconf
from hostaudit_agent.collectors import UnreadableError, sysctl
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import Sysctl


def tree(top: Path, values: dict[str, str], **files: str) -> Root:
    for name, value in values.items():
        path = top / "proc/sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    (top / "run/systemd/system").mkdir(parents=True)
    for name, text in files.items():
        (top / "etc/sysctl.d").mkdir(parents=True, exist_ok=True)
        (top / "etc/sysctl.d" / f"{name}.conf").write_text(text)
    return Root(str(top))


def read(root: Root) -> Sysctl:
    unread: list[tuple[str, str]] = []
    found = sysctl.collect(root, None, lambda part, why: unread.append((part, why)))
    assert unread == []
    return found


def test_running_and_configured_stand_side_by_side(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"net/netfilter/nf_conntrack_max": "262144", "net/ipv4/ip_local_port_range": "32768\t60999"},
        a="net.nf_conntrack_max = 1000000\nnet.netfilter.nf_conntrack_max = 500000\n",
    )
    (tmp_path / "proc/sys/net/ipv4/ip_local_port_range").chmod(0o444)
    knobs = read(root).knobs
    limit = knobs["net.netfilter.nf_conntrack_max"]
    assert (limit.running, limit.writable) == ("262144", True)
    assert limit.configured is not None
    assert (limit.configured.value, limit.configured.line) == ("500000", 2)
    assert [a.value for a in limit.overridden] == ["1000000"]  # another name of the same variable
    assert knobs["net.ipv4.ip_local_port_range"].running == "32768 60999"
    assert not knobs["net.ipv4.ip_local_port_range"].writable
    assert knobs["net.bridge.bridge-nf-call-iptables"].running is None  # absent is a value


def test_a_dot_of_an_interface_is_a_slash_in_the_knobs_name(tmp_path: Path) -> None:
    values = {f"net/ipv4/conf/{level}/rp_filter": "0" for level in ("all", "default")}
    root = tree(tmp_path, {**values, "net/ipv4/conf/eth0.7/rp_filter": "2"}, a="net.ipv4.conf.eth0/7.rp_filter = 1")
    found = read(root)
    knob = found.knobs["net.ipv4.conf.eth0/7.rp_filter"]
    assert knob.running == "2"
    assert knob.configured is not None
    assert knob.configured.value == "1"
    assert found.effective["rp_filter"] == {"eth0.7": 2}


def test_the_files_say_nothing_about_another_namespace(tmp_path: Path) -> None:
    root = tree(tmp_path, {"net/core/somaxconn": "4096"}, a="net.core.somaxconn = 1")
    inside = read(Root(str(tmp_path), netns="netns blue"))
    assert inside.knobs["net.core.somaxconn"].configured is None
    assert inside.applied_by == ""
    assert read(root).knobs["net.core.somaxconn"].configured is not None


def test_no_proc_sys_is_unread(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="/proc/sys is empty"):
        read(Root(str(tmp_path)))


@pytest.mark.parametrize(
    ("knob", "every", "own", "forwarding", "effective"),
    [
        ("rp_filter", 1, 2, False, 2),
        ("rp_filter", 2, 1, False, 2),
        ("rp_filter", 1, 0, False, 1),
        ("rp_filter", 0, 0, False, 0),
        ("arp_ignore", 2, 1, False, 2),
        ("log_martians", 0, 1, False, 1),
        ("accept_source_route", 1, 0, False, 0),
        ("accept_source_route", 1, 1, False, 1),
        ("accept_redirects", 1, 0, False, 1),
        ("accept_redirects", 1, 0, True, 0),
        ("forwarding", 1, 0, True, 0),
    ],
)
def test_effective(knob: str, every: int, own: int, forwarding: bool, effective: int) -> None:
    assert sysctl.combined(knob, every, own, forwarding=forwarding) == effective


@pytest.mark.lab
def test_what_the_kernel_tells_at_once_is_what_its_files_say(netns: Callable[[], Any]) -> None:
    """An interface for each setting, on which all but that one are changed: no two are changed on the same ones."""
    space = netns()
    space.ip(*(f"link add v{n} type veth peer name w{n}" for n in range(8)))
    with space.entered():
        files = {
            (f"{end}{n}", knob): Path(f"/proc/sys/net/ipv4/conf/{end}{n}/{knob}")
            for n in range(8)
            for end in "vw"
            for knob in sysctl.PER_INTERFACE
        }
        assert len(files) == len(sysctl.PER_INTERFACE) ** 2
        for place, file in enumerate(files.values()):
            if place // len(sysctl.PER_INTERFACE) != place % len(sysctl.PER_INTERFACE):
                file.write_text("0" if file.read_text().strip() == "1" else "1")
        told = devconf.read()
        for (interface, knob), file in files.items():
            assert told[interface][knob] == file.read_text().strip(), (interface, knob)
        assert set(told) == {interface for interface, _ in files} | {"lo"}


@pytest.mark.lab
def test_what_a_namespace_runs(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip("link add v0.5 type veth peer name v1")
    with space.entered():
        for name, value in (("all", "1"), ("v0.5", "2")):
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text(value)
        found = read(Root(netns="netns x"))
    assert found.knobs["net.ipv4.conf.v0/5.rp_filter"].running == "2"
    assert found.effective["rp_filter"] == {"lo": 1, "v0.5": 2, "v1": 1}
    assert found.knobs["net.core.netdev_max_backlog"].running is None  # the host's, not the namespace's
    limit = found.knobs["net.netfilter.nf_conntrack_max"]
    if limit.running is not None:  # some kernels have no connection tracking
        assert not limit.writable
    assert found.knobs["net.ipv4.ip_forward"].writable


@pytest.mark.lab
@pytest.mark.parametrize(("every", "own"), [(a, b) for a in range(3) for b in range(3)])
def test_rp_filter_drops_as_we_say(netns: Callable[[], Any], every: int, own: int) -> None:
    """A packet whose source is routed out of another interface is dropped by strict mode, and by that alone."""
    from hostaudit_agent.collectors import counters

    here, there = netns(), netns()
    here.ip(
        f"link add e0 type veth peer name e1 address 02:00:00:00:00:01 netns {there.name}",
        "link set e0 up",
        "addr add 192.0.2.1/24 dev e0",
        "neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev e0",  # the filter would drop the ARP request too
    )
    here.ip("addr add 198.51.100.1/32 dev e0")
    there.ip("link set e1 up", "addr add 192.0.2.2/24 dev e1", "link add br0 type bridge", "link set br0 up")
    there.ip("addr add 198.51.100.2/24 dev br0", "link set lo up")
    with there.entered():
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text(str(every))
        Path("/proc/sys/net/ipv4/conf/e1/rp_filter").write_text(str(own))
        effective = read(Root(netns="netns x")).effective["rp_filter"]["e1"]
        before = counters.sample(Root())
    here.run("python3", "-c", SEND)
    with there.entered():
        delta = counters.collect(Root(), before, lambda _part, _why: None).delta or {}
    assert (delta.get("TcpExt.IPReversePathFilter", 0) == 1) is (effective == 1)
    assert effective == max(every, own)


SEND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("198.51.100.1", 0))
s.sendto(b"x", ("192.0.2.2", 9))
"""
