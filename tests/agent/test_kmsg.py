"""The kernel's log: each kind of line as kernels write it, and real lines of a real kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import UnreadableError, kmsg
from hostaudit_agent.kernellog import OTHERS, SUBJECTS, Line, Tally
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.snapshot import KernelEvent

CHOSEN = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/pod1,"
    "task_memcg=/kubepods/pod1/abc,task=java,pid=4711,uid=0"
)
KILLED = "Memory cgroup out of memory: Killed process 4711 (java) total-vm:1kB, anon-rss:1kB, oom_score_adj:996"
LINES = {
    "nf_conntrack: nf_conntrack: table full, dropping packet": ("conntrack-full", ""),
    "nf_conntrack: nf_conntrack: table full in netns 4026532396, dropping packet": ("conntrack-full", "4026532396"),
    "neighbour: arp_cache: neighbor table overflow!": ("neigh-full", "arp_cache"),
    "UDP: bad checksum. From 172.16.9.99:27503 to 172.16.80.252:8472 ulen 75": (
        "udp-checksum",
        "172.16.9.99 port 8472",
    ),
    "IPv4: martian source 10.0.0.1 from 192.0.2.7, on dev eth0": ("martian", "eth0"),
    "IPv4: martian destination 0.0.0.0 from 192.0.2.7, dev eth1": ("martian", "eth1"),
    "TCP: request_sock_TCP: Possible SYN flooding on port 0.0.0.0:8080. Sending cookies.": (
        "syn-flood",
        "0.0.0.0:8080",
    ),
    "NETDEV WATCHDOG: eno1 (igb): transmit queue 3 timed out 5120 ms": ("nic-reset", "eno1"),
    "e1000e 0000:00:1f.6 eno1: Detected Hardware Unit Hang:": ("nic-reset", "eno1"),
    "igb 0000:01:00.0 eno2: Reset adapter": ("nic-reset", "eno2"),
    "e1000e 0000:00:1f.6 eno1: NIC Link is Down": ("link-down", "eno1"),
    "INFO: task kworker/u8:2:123 blocked for more than 120 seconds.": ("hung-task", "kworker/u8:2"),
    "nf_ct_proto_6: invalid new IN=vmbr0 OUT= PHYSIN=tap101i0 MAC=02:00 SRC=10.0.0.100 DST=10.0.0.10 LEN=60 "
    "PROTO=TCP SPT=8080 DPT=20009 WINDOW=1 RES=0x00 ACK SYN URGP=0": (
        "invalid-new",
        "tap101i0 10.0.0.100:8080 ACK SYN",
    ),
    "Out of memory: Killed process 812 (kvm) total-vm:1kB": ("oom-kill", "the whole machine"),
}


def events(*texts: str) -> list[KernelEvent]:
    tally = Tally()
    for second, text in enumerate(texts):
        assert kmsg.INTERESTING.search(text.encode()), "it has to pass the first sieve too"
        tally.add(Line(1000.0 + second, text, during=second > 0))
    return tally.events()


@pytest.mark.parametrize("text", LINES)
def test_each_kind_is_told_with_its_subject(text: str) -> None:
    (event,) = events(text)
    assert (event.kind, event.subject) == LINES[text]
    assert text.startswith(event.example)


@pytest.mark.parametrize(
    "text",
    ["audit: table full of food", "docker0: port 1(veth0) entered disabled state", "e1000e eno1: NIC Link is Up 1000"],
)
def test_other_lines_are_no_event(text: str) -> None:
    tally = Tally()
    tally.add(Line(1.0, text, during=False))
    assert tally.events() == []


def test_a_kill_is_counted_once_with_its_control_group() -> None:
    (event,) = events(CHOSEN, KILLED, CHOSEN, KILLED)
    assert (event.kind, event.subject, event.count) == ("oom-kill", "/kubepods/pod1/abc", 2)
    assert (event.first, event.last, event.during) == (1001.0, 1003.0, 2)


def test_what_the_kernel_did_not_log_is_told() -> None:
    tally = Tally()
    tally.add(Line(1.0, "net_ratelimit: 52 callbacks suppressed", during=False))
    assert tally.suppressed == 52


def test_subjects_are_bounded() -> None:
    found = events(*(f"IPv4: martian source 10.0.0.1 from 10.0.0.2, on dev e{n}" for n in range(SUBJECTS + 9)))
    assert len(found) == SUBJECTS + 1
    assert {event.subject: event.count for event in found}[OTHERS] == 9


def test_a_record_is_parsed_without_its_properties() -> None:
    record = kmsg.parse(b"6,339,5140900,-;a; text\n SUBSYSTEM=net\n")
    assert record == (6, 339, 5.1409, b"a; text")
    assert kmsg.parse(b"nonsense") is None
    assert kmsg.parse(b"x,y,z,-;text") is None


# ---- a real log ---------------------------------------------------------------------------------------------------


@contextmanager
def first_netns() -> Iterator[None]:
    """Skip where this machine's log is not ours to read."""
    if os.geteuid() != 0 or not Root().exists("proc/sys/net/core/netdev_budget") or not Root().exists("dev/kmsg"):
        pytest.skip("needs root in the kernel's first network namespace, and /dev/kmsg")
    yield


def quiet(part: str, why: str) -> None:
    raise AssertionError(f"{part}: {why}")


@pytest.mark.lab
def test_a_real_martian_is_an_event_between_the_samples(netns: Callable[[], Any]) -> None:
    with first_netns():
        here, there = netns(), netns()
        here.ip(
            f"link add a0 type veth peer name b0 netns {there.name}",
            "addr add 192.0.2.1/24 dev a0",
            "link set a0 up",
        )
        there.ip("addr add 192.0.2.2/24 dev b0", "link set b0 up", "link set lo up")
        there.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/log_martians")
        here.ip("addr add 127.9.9.9/8 dev a0", "route add 192.0.2.2/32 dev a0 src 192.0.2.1")
        here.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
        before = kmsg.sample(Root())
        with here.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
            s.bind(("127.9.9.9", 0))
            s.sendto(b"from nowhere", ("192.0.2.2", 9))
        time.sleep(0.2)
        found = kmsg.collect(Root(), before, quiet)
    (event,) = [e for e in found.events if e.kind == "martian" and e.subject == "b0" and e.during]
    assert "127.9.9.9" in event.example
    assert event.last == pytest.approx(time.time(), abs=30), "the time of day is told from the kernel's own clock"


@pytest.mark.lab
def test_lines_of_programs_do_not_count() -> None:
    with first_netns():
        before = kmsg.sample(Root())
        with Path("/dev/kmsg").open("w") as log:
            log.write("<12>nf_conntrack: nf_conntrack: table full in netns 42, dropping packet\n")
        found = kmsg.collect(Root(), before, quiet)
    assert [event for event in found.events if event.subject == "42"] == []


@pytest.mark.lab
def test_another_network_namespace_has_no_log_of_its_own(netns: Callable[[], Any]) -> None:
    space = netns()
    with space.entered():
        assert kmsg.sample(Root()) is None
        found = kmsg.collect(Root(), None, quiet)
    assert not found.own
    assert found.events == []


def test_an_ordinary_file_in_its_place_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/net").touch()
    (tmp_path / "proc/sys/net/core").mkdir(parents=True)
    (tmp_path / "proc/sys/net/core/netdev_budget").touch()
    assert not kmsg.collect(Root(str(tmp_path)), None, quiet).own, "no /dev/kmsg"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text("3,1,1,-;nf_conntrack: table full\n")
    assert not kmsg.collect(Root(str(tmp_path)), None, quiet).own


def test_a_captured_tree_has_no_log(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="read live"):
        kmsg.sample(Root(str(tmp_path)))


@pytest.fixture
def small() -> Iterator[Path]:
    """A memory control group of 16 MiB, of cgroup v1 or v2; gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a control group")
    v1 = Path("/sys/fs/cgroup/memory")
    top = v1 if v1.is_dir() else Path("/sys/fs/cgroup")
    group = top / f"hostaudit-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if top == v1 else "memory.max")).write_text(str(16 << 20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    yield group
    group.rmdir()


@pytest.mark.lab
def test_a_real_kill_for_memory_is_told_with_its_control_group(small: Path) -> None:
    hog = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); bytearray(64 << 20)"
    with first_netns():
        before = kmsg.sample(Root())
        done = subprocess.run([sys.executable, "-I", "-S", "-c", hog, str(small / "cgroup.procs")], check=False)
        time.sleep(0.2)
        found = kmsg.collect(Root(), before, quiet)
    assert done.returncode == -9
    (event,) = [e for e in found.events if e.kind == "oom-kill" and e.subject.endswith(small.name)]
    assert (event.count, event.during) == (1, 1)
    assert "python" in event.example
