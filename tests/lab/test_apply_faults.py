"""Whatever happens in the middle of a change, each host ends wholly changed or wholly as before, and it is told which.

Here a few faults of each kind; ``LAB_SOAK=SECONDS`` injects kills at random points for that long (``make soak``).
"""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from labkit import hosts
from labkit.faults import Fleet, judged, kill, killed_at, truth, when
from labkit.hosts import Spec
from labkit.settings import LAB

NAMES = {"f11": "bullseye", "f12": "bookworm", "f13": "trixie"}
SUDOERS = "/etc/sudoers.d/audit"
ENTRIES = 25
"""Of the journal of an apply with two batches."""


thorough = pytest.mark.soak


@pytest.fixture(scope="module")
def three() -> Iterator[list[str]]:
    with hosts.up({name: Spec(f"boot:{suite}", groups=("web",)) for name, suite in NAMES.items()}) as names:
        yield names


@pytest.fixture
def fleet(three: list[str], tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(three, tmp_path)
    made.planned()
    yield made
    made.as_before()


def resumed(fleet: Fleet) -> None:
    """Resume, and compare every host with what the journal says."""
    done = fleet.resume()
    assert done.code in (0, 8), done.stderr
    assert judged(fleet, fleet.change()) == []
    assert fleet.resume().code == 0, "nothing is unfinished any more"


@pytest.mark.parametrize(
    ("entry", "delay", "everything"),
    [
        pytest.param(4, 2.5, False, marks=thorough),  # while the guard is armed
        (4, 5.0, True),  # while the role writes
        pytest.param(9, 0.0, False, marks=thorough),  # found good, not confirmed
        (10, 0.1, False),  # while the guard is confirmed
        pytest.param(15, 4.0, True, marks=thorough),  # in the second batch
    ],
)
def test_the_controller_is_killed(fleet: Fleet, entry: int, delay: float, *, everything: bool) -> None:
    assert killed_at(fleet, entry, delay, everything=everything), "it was still running"
    resumed(fleet)


@pytest.mark.parametrize(
    ("entry", "delay"),
    [
        (5, 4.0),
        pytest.param(11, 0.1, marks=thorough),
        pytest.param(16, 3.0, marks=thorough),
    ],
)
def test_the_controller_is_killed_in_a_rollback(fleet: Fleet, entry: int, delay: float) -> None:
    """While the role puts back, while the guard is confirmed, and in the second batch."""
    change = fleet.apply().change
    assert killed_at(fleet, entry, delay, undo=change), "it was still running"
    resumed(fleet)


def test_a_host_reboots_between_change_and_confirmation(fleet: Fleet) -> None:
    process = fleet.start()
    try:
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries)
        hosts.script("f11", "systemctl reboot --force --force &")
        process.communicate(timeout=240)
    finally:
        kill(process, everything=True)
    hosts.ready("f11")
    hosts.wait(lambda: truth("f11").value == "4096", 60, "f11 does not go back after its reboot")
    resumed(fleet)
    assert truth("f11").whole == "as before"


def blocked(fleet: Fleet) -> tuple[int, str]:
    """Drop new connections after the change, while a multiplexed one lives: that one would confirm."""
    socket = LAB / "mux"
    ssh = ["ssh", "-F", str(LAB / "ssh_config"), "-S", str(socket)]
    subprocess.run([*ssh, "-M", "-N", "-f", "f11"], check=True)
    block = "add table ip cut; add chain ip cut i { type filter hook input priority 0; }; "
    block += "add rule ip cut i tcp dport 22 tcp flags & (fin|syn|rst|ack) == syn drop"
    process = fleet.start()
    try:
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries)
        hosts.run("f11", "nft", block)
        alive = subprocess.run([*ssh, "f11", "true"], check=False, timeout=20)
        assert alive.returncode == 0, "the open connection lives"
        hosts.wait(lambda: truth("f11").value == "4096", 120, "f11 does not go back by itself")
        hosts.run("f11", "nft", "delete table ip cut")
        _, err = process.communicate(timeout=240)
    finally:
        subprocess.run([*ssh, "-O", "exit", "f11"], check=False, capture_output=True)
        hosts.script("f11", "nft delete table ip cut 2>/dev/null || :")
        kill(process, everything=True)
    return process.returncode, err


def cut(fleet: Fleet) -> tuple[int, str]:
    """Let the change itself cut SSH: strict reverse path filtering, and a route back that is another interface."""
    hosts.script(
        "f12",
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up\n"
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0\n"
        "ip route add 10.77.0.0/24 dev eth0 table 77; ip rule add fwmark 7 lookup 77\n"
        "nft 'add table ip m; add chain ip m o { type route hook output priority mangle; }; "
        "add rule ip m o ip daddr 10.77.0.1 meta mark set 7'\n"
        "ip route add 10.77.0.1/32 dev d0\n",
    )
    try:
        fleet.planned("sysctl", sysctl_values={"net.ipv4.conf.eth0.rp_filter": 1})
        done = fleet.apply()
        value = hosts.script("f12", "cat /proc/sys/net/ipv4/conf/eth0/rp_filter").strip()
        assert value == "0", "it went back by itself, or could not be asked before that"
    finally:
        hosts.script("f12", "ip link del d0; ip rule del fwmark 7; nft delete table ip m")
    return done.code, done.stderr


def sudo_lost(fleet: Fleet) -> tuple[int, str]:
    """Take sudo away after the change: the controller can log in and can do nothing."""
    process = fleet.start()
    try:
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries)
        hosts.script("f13", f"mv {SUDOERS} /root/kept")
        hosts.wait(lambda: truth("f13").value == "4096", 120, "f13 does not go back by itself")
        hosts.script("f13", f"mv /root/kept {SUDOERS}")
        _, err = process.communicate(timeout=240)
    finally:
        kill(process, everything=True)
    return process.returncode, err


def test_hosts_that_cannot_be_reached_after_the_change_go_back_alone(
    three: list[str], tmp_path: Path, fleet: Fleet
) -> None:
    """Three hosts, each cut off in its own way, side by side: most of it is waiting for the guards."""
    user = (
        "id audit >/dev/null 2>&1 || useradd -m audit; mkdir -p ~audit/.ssh; "
        "cp /root/.ssh/authorized_keys ~audit/.ssh/; "
        f"chown -R audit ~audit/.ssh; echo 'audit ALL=(ALL) NOPASSWD: ALL' >{SUDOERS}; chmod 440 {SUDOERS}"
    )
    hosts.script("f13", user)
    login = {"f13": {"ansible_user": "audit", "ansible_become": "true"}}
    fleets = [Fleet([name], tmp_path / name, login) for name in three]
    for one in fleets:
        one.planned()
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda story, one: story(one), (blocked, cut, sudo_lost), fleets))
    for one, (code, said) in zip(fleets, ended, strict=True):
        assert code == 8, said
        assert "not confirmed within" in said, "the host did it alone, and the controller found out"
        assert judged(one, one.change()) == []
    assert fleet.resume().code == 0


@thorough
def test_hundreds_of_kills(fleet: Fleet) -> None:
    chance = random.Random(os.environ.get("LAB_SEED", "1"))  # noqa: S311 - to be repeated with the same seed
    end = time.monotonic() + float(os.environ.get("LAB_SOAK", "600"))
    faults, wrong = 0, []
    while time.monotonic() < end:
        fleet.as_before()
        fleet.planned()
        before = fleet.change()
        entry, delay = chance.randint(1, ENTRIES), chance.choice([0, 0, 0.3, 1, 2, 4])
        alive = killed_at(fleet, entry, delay, everything=chance.random() < 0.4)
        done = fleet.resume()
        change = fleet.change()
        found = judged(fleet, change if change != before else "")
        faults += alive
        if found or done.code not in (0, 8):
            wrong.append((entry, delay, found, done.stderr))
        print(f"faults {faults}, hosts that are wrong {sum(len(w[2]) for w in wrong)}")
    assert wrong == []
