"""TCP sockets: the format of /proc/net/tcp, and the kernel's own answers about sockets that are really there."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import bitlist, endpoint, holders, localports, tcpdiag
from hostaudit_agent.collectors import sockets
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE = "{} {}:{} {}:{} {} 00000000:{} {} 00000000  1000        0 {} 1 0000000000000000 20 4 30 10 -1\n"
HEAD = "  sl  local_address {} st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
MOST_CALLS = 15
"""Function calls for each line of the kernel's table: 9 when this was written."""
TCP = (
    HEAD.format("rem_address  ")
    + LINE.format("   0:", "0100007F", "1F90", "00000000", "0000", "0A", "00000081", "00:00000000", 4242)
    + LINE.format("   1:", "0100007F", "C350", "0200000A", "01BB", "08", "00000001", "02:00000F6C", 4243)
)
LOOPBACK6 = "00000000000000000000000001000000"
TCP6 = HEAD.format("remote_address") + LINE.format(
    "   0:", LOOPBACK6, "0016", "0" * 32, "0000", "0A", "00000000", "00:00000000", 4244
)
little_endian = pytest.mark.skipif(sys.byteorder == "big", reason="the captured files are of a little-endian machine")


def nothing(part: str, why: str) -> None:
    raise AssertionError(f"{part}: {why}")


@little_endian
def test_rows_of_procfs() -> None:
    first, second = tcpdiag.parse(TCP, endpoint.AF_INET)
    assert (first[1], first[7], first[8], first[9]) == (tcpdiag.LISTEN, 0x81, tcpdiag.UNTOLD, 4242)
    assert endpoint.end(second[0], second[6], second[4]) == "10.0.0.2:443"
    assert endpoint.end(second[0], second[5], second[3]) == "127.0.0.1:50000"
    assert (second[1], second[2]) == (tcpdiag.CLOSE_WAIT, tcpdiag.KEEPALIVE)
    (third,) = tcpdiag.parse(TCP6, endpoint.AF_INET6)
    assert endpoint.end(third[0], third[5], third[3]) == "[::1]:22"


def test_what_is_no_table_of_sockets_is_refused() -> None:
    assert list(tcpdiag.parse("", endpoint.AF_INET)) == []
    with pytest.raises(ValueError, match="not in list"):
        list(tcpdiag.parse("some other text\n", endpoint.AF_INET))


@little_endian
def test_a_captured_tree_is_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    root = Root(str(tmp_path))
    said: list[str] = []
    found = sockets.collect(root, sockets.sample(root), lambda part, _: said.append(part))
    assert said == ["processes"], "a queue is full, and whose it is stands in no file"
    assert found.source == "procfs"
    assert found.states == {"LISTEN": 1, "CLOSE_WAIT": 1}
    assert [(one.address, one.queue, one.backlog, one.dropped) for one in found.listeners] == [
        ("127.0.0.1:8080", 0x81, None, None)
    ]
    assert found.ports is None


def tree(top: Path, bounds: str, reserved: str) -> Root:
    (top / "proc/sys/net/ipv4").mkdir(parents=True)
    (top / "proc/sys/net/ipv4/ip_local_port_range").write_text(bounds)
    (top / "proc/sys/net/ipv4/ip_local_reserved_ports").write_text(reserved)
    return Root(str(top))


def test_ports_that_connect_may_choose(tmp_path: Path) -> None:
    flags, number = localports.usable(tree(tmp_path, "1000\t1999\n", "1000-1009,1500\n"), {socket.htons(1600)})
    assert number == 1000 - 11
    usable = {socket.ntohs(port) for port in range(1 << 16) if flags[port]}
    assert usable == set(range(1010, 2000)) - {1500, 1600}


@pytest.mark.parametrize(
    ("text", "ranges"), [("", []), ("\n", []), ("8080\n", [(8080, 8080)]), ("1-3,9\n", [(1, 3), (9, 9)])]
)
def test_reserved_ports(text: str, ranges: list[tuple[int, int]]) -> None:
    assert bitlist.ranges(text) == ranges


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", ""),
        ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope\n", "cri-containerd-ab.scope"),
        ("12:cpu:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n", "cron.service"),
        ("0::/\n", ""),
        ("nonsense", ""),
    ],
)
def test_the_unit_of_a_process(groups: str, unit: str) -> None:
    assert holders.unit(groups) == unit


def test_networks_of_addresses() -> None:
    inet6 = socket.inet_pton(socket.AF_INET6, "2001:db8:1:2:3::4")
    assert endpoint.prefix(*endpoint.network(endpoint.AF_INET6, inet6)) == "2001:db8:1:2::/64"
    mapped = socket.inet_pton(socket.AF_INET6, "::ffff:10.1.2.3")
    assert endpoint.prefix(*endpoint.network(endpoint.AF_INET6, mapped)) == "10.1.2.0/24"
    assert endpoint.end(endpoint.AF_INET6, mapped, socket.htons(80)) == "10.1.2.3:80"


# ---- a real kernel ----------------------------------------------------------------------------------------------


@pytest.fixture
def inside(netns: Callable[[], Any]) -> Iterator[Any]:
    """Be in a network namespace of one's own, with a loopback."""
    space = netns()
    space.ip("link set lo up")
    with space.entered():
        yield space


@pytest.fixture(params=["inet_diag", "procfs"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read in both ways; the kernel that has inet_diag is told not to have it."""
    name = str(request.param)
    if name == "procfs":
        monkeypatch.setattr(tcpdiag, "source", lambda _root: "procfs")
    elif tcpdiag.source(Root()) != name:
        pytest.skip("this kernel has no tcp_diag")
    return name


def pair(stack: ExitStack, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = stack.enter_context(closing(socket.create_connection(listener.getsockname()[:2])))
    return client, stack.enter_context(closing(listener.accept()[0]))


def hang_up(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """Close the servers' ends, and return once the clients saw it: on a busy machine ksoftirqd takes a while."""
    for ours, theirs in pairs:
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(1) == b""


@pytest.mark.lab
def test_states_of_both_families_are_counted(inside: Any, source: str) -> None:
    del inside
    with ExitStack() as stack:
        one = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001))))
        two = stack.enter_context(closing(socket.create_server(("::1", 7002), family=socket.AF_INET6)))
        pairs = [pair(stack, listener) for listener in (one, two, two)]
        pairs[0][0].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found = sockets.collect(Root(), None, nothing)
        assert found.source == source
        assert found.states == {"LISTEN": 2, "ESTABLISHED": 6}
        assert found.keepalive == 1
        assert sorted(listener.address for listener in found.listeners) == ["127.0.0.1:7001", "[::1]:7002"]
        assert found.close_wait == []


@pytest.mark.lab
def test_connections_that_nobody_closes_have_a_name(inside: Any, source: str) -> None:
    del inside
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=100)))
        first = [pair(stack, server) for _ in range(40)]
        hang_up(first)
        before = sockets.sample(Root())
        time.sleep(0.3)
        hang_up([pair(stack, server) for _ in range(20)])
        (one,) = sockets.collect(Root(), before, nothing).close_wait
        assert (one.count, one.increase, one.peers) == (60, 20, {"127.0.0.1:7001": 60})
        assert one.process is not None
        assert (one.process.pid, one.process.name) == (os.getpid(), Path("/proc/self/comm").read_text().strip())
        assert one.sockets == 60, "the ends that were closed are no descriptors any more"
        if source == "inet_diag":
            least, _, most = one.idle
            assert least < 0.3 <= most < 60
        else:
            assert one.idle == []


@pytest.mark.lab
def test_those_that_were_closed_meanwhile_are_no_increase(inside: Any) -> None:
    del inside
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=100)))
        pairs = [pair(stack, server) for _ in range(80)]
        hang_up(pairs[:60])
        before = sockets.sample(Root())
        for ours, _ in pairs[:20]:
            ours.close()
        hang_up(pairs[60:])
        (one,) = sockets.collect(Root(), before, nothing).close_wait
        assert (one.count, one.increase) == (60, 0)


@pytest.mark.lab
def test_a_full_accept_queue_names_its_listener(inside: Any) -> None:
    """Two fit into a queue of one; the next ones get no answer to their ACK, and the socket counts them."""
    del inside
    with ExitStack() as stack:
        quiet = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7000))))
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=1)))
        before = sockets.sample(Root())
        for _ in range(4):
            client = stack.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        time.sleep(0.2)
        first, second = sockets.collect(Root(), before, nothing).listeners
        assert (first.address, first.queue, first.backlog) == ("127.0.0.1:7001", 2, 1)
        assert first.dropped is not None
        assert first.dropped >= 2
        assert first.process is not None
        assert first.process.pid == os.getpid()
        assert (second.address, second.queue, second.dropped, second.process) == ("127.0.0.1:7000", 0, 0, None)
        assert quiet.fileno() >= 0


@pytest.mark.lab
def test_ports_towards_one_target_are_counted(inside: Any, source: str) -> None:
    del inside, source
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40099")
    Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("40000-40009")
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=100)))
        for number in range(90):
            ours, theirs = pair(stack, server)
            if number >= 70:  # who closes first keeps the port
                ours.close()
                assert theirs.recv(1) == b""
                theirs.close()
        found = sockets.collect(Root(), None, nothing)
        assert found.ports == 90
        (target,) = found.targets
        assert (target.source, target.target, target.ports, target.time_wait) == ("127.0.0.1", "127.0.0.1:7001", 90, 20)
        Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("0")
        one_more = stack.enter_context(closing(socket.socket()))
        with pytest.raises(OSError, match="Cannot assign requested address"):
            one_more.connect(server.getsockname())


@pytest.mark.lab
def test_the_bound_is_said(inside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del inside
    monkeypatch.setattr(sockets, "MOST", 4)
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001))))
        for _ in range(3):
            pair(stack, server)
        said: list[str] = []
        assert sockets.collect(Root(), None, lambda part, why: said.append(f"{part}: {why}")).truncated
        assert said == ["table: more than 4 sockets: the rest was not counted"]


@pytest.mark.lab
def test_a_process_of_another_namespace_is_not_looked_into(inside: Any, netns: Callable[[], Any]) -> None:
    del inside
    server = socket.create_server(("127.0.0.1", 7001))
    inode = os.fstat(server.fileno()).st_ino
    assert holders.find(Root(), {inode}, {inode}).of == {inode: os.getpid()}
    command = ["ip", "netns", "exec", netns().name, "sh", "-c", "echo; exec sleep 30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[server.fileno()]) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            server.close()
            assert Path("/proc/net/tcp").read_text().count("\n") == 2, "the child keeps it"
            assert holders.find(Root(), {inode}, {inode}).of == {}
        finally:
            child.kill()


@pytest.mark.lab
def test_thousands_of_sockets_cost_little(inside: Any, work: Any) -> None:
    """5,000 connections in CLOSE_WAIT, and their other ends: the work of two samples grows with their number alone."""
    del inside
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip(f"needs 12000 descriptors, the hard limit here is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (12_000, hard))
    try:
        with ExitStack() as stack:
            server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 7001), backlog=100)))
            hang_up([pair(stack, server) for _ in range(5000)])
            with work.counted():
                found = sockets.collect(Root(), sockets.sample(Root()), nothing)
            assert found.close_wait[0].count == 5000
            lines = Path("/proc/net/tcp").read_bytes().count(b"\n")
            assert lines > 10_000
            assert work.calls < 2 * MOST_CALLS * lines
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
