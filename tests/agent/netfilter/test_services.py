"""Backends that nobody is behind, and the lock of iptables, of a real kernel."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import firewall
from hostaudit_agent.netfilter import backends, xtlock
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCKS = """\
1: POSIX  ADVISORY  WRITE 500 00:1a:4711 0 EOF
2: FLOCK  ADVISORY  WRITE 812 00:1a:4711 0 EOF
2: -> FLOCK  ADVISORY  WRITE 900 00:1a:4711 0 EOF
3: FLOCK  ADVISORY  WRITE 901 00:1a:47110 0 EOF
4: LEASE  BREAKER
"""


def test_holder_and_who_waits_are_told_apart() -> None:
    assert xtlock.parse(LOCKS, 4711) == xtlock.Users((812,), (900,))
    assert xtlock.parse("", 4711) == xtlock.Users((), ())


def test_a_lock_that_is_held_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "proc").symlink_to("/proc")
    root, path = Root(str(tmp_path)), tmp_path / "run/xtables.lock"
    assert xtlock.look(root) is None
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter = subprocess.Popen(["flock", str(path), "true"])
        end = time.monotonic() + 20
        while not (users := xtlock.look(root)) or not users.waiting:
            assert time.monotonic() < end
            time.sleep(0.05)
        found = xtlock.report(root, users, users)
        assert found.holder.startswith(f"{os.getpid()} ")
        assert found.waited_throughout == [f"{waiter.pid} flock"]
        assert found.held_throughout
        assert not xtlock.report(root, users, xtlock.Users((1,), (2,))).held_throughout
    waiter.wait(20)
    assert xtlock.look(root) == xtlock.Users((), ())


@pytest.mark.lab
def test_who_is_behind_an_address(netns: Callable[[], Any]) -> None:
    space, guest = netns(), netns()
    space.ip(
        "link set lo up",
        "link add cni0 type bridge",
        "addr add 10.244.1.1/24 dev cni0",
        "link set cni0 up",
        f"link add v0 type veth peer name eth0 netns {guest.name}",
        "link set v0 up master cni0",
        "link add v1 type veth peer name v2",
        "link set v2 up",
        "link set v1 up",
        "route add blackhole 10.245.1.0/26",
        "route add 10.245.1.7/32 dev v1",
    )
    guest.ip("addr add 10.244.1.7/24 dev eth0", "link set eth0 up")
    # last: the kernel sweeps failed entries every few seconds
    space.ip("neigh add 10.244.1.9 dev cni0 lladdr 02:00:00:00:00:01 nud failed")
    asked = ["10.244.1.1", "10.244.1.7", "10.244.1.8", "10.244.1.9", "10.245.1.7", "10.245.1.8", "192.0.2.1"]
    with space.entered():
        found = backends.dead(asked)
    assert found == {"10.244.1.9": "neighbour failed on cni0", "10.245.1.8": "no route"}


@pytest.mark.lab
def test_only_an_entry_that_packets_refresh_counts(netns: Callable[[], Any]) -> None:
    space, client = netns(), netns()
    space.ip(
        "link set lo up",
        f"link add out type veth peer name eth0 netns {client.name}",
        "addr add 10.7.0.1/24 dev out",
        "link set out up",
        "route add blackhole 10.245.1.0/26",
        "link add v1 type veth peer name v2",
        "link set v2 up",
        "link set v1 up",
        "route add 10.245.1.7/32 dev v1",
        "neigh add 10.245.1.7 dev v1 lladdr 02:00:00:00:00:01",
    )
    client.ip("addr add 10.7.0.2/24 dev eth0", "link set eth0 up", "route add default via 10.7.0.1")
    space.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    space.run("iptables-nft", "-t", "nat", "-N", "KUBE-SVC-A")
    to = ("-t", "nat", "-A", "PREROUTING", "-p", "udp", "-j", "DNAT", "--to-destination", "10.245.1.7")
    space.run("iptables-nft", *to)
    send = "import socket\nfor p in {}:\n s=socket.socket(2,2);s.bind(('10.7.0.2',p));s.sendto(b'?',('10.96.0.10',53))"
    client.run("python3", "-c", send.format([4000, 4001]))
    space.ip("route del 10.245.1.7/32 dev v1")
    with space.entered():
        before = firewall.sample(Root())
    time.sleep(2.5)
    # without the way to the old backend the packet dies after connection tracking has seen it
    client.run("python3", "-c", send.format([4000]))
    with space.entered():
        (backend,) = firewall.collect(Root(), before, lambda *_: None).dead_backends
    assert (backend.address, backend.why, backend.lasting) == ("10.245.1.7", "no route", True)
    assert (backend.refreshed, backend.flows[0]) == (1, "udp 10.7.0.2:4000>10.96.0.10:53")
    assert len(backend.flows) == 2
    assert backend.delta == 0, "NAT rules see the first packet of a flow only"
