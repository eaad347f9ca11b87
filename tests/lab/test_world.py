"""Nothing is left of a lab, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, world
from labkit.settings import LAB, sh

LAB_PY = Path(__file__).with_name("lab.py")
SPACES = ("mnt", "net", "pid", "uts", "ipc")


def spaces(pid: int | str) -> set[str]:
    """Namespaces of a process, as ``net:[4026531840]``; empty when it is gone."""
    found = set()
    for kind in SPACES:
        try:
            found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
        except OSError:
            return set()
    return found


def everybody() -> dict[int, set[str]]:
    return {int(p.name): spaces(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}


def mounts() -> list[str]:
    """What is mounted where, here."""
    return [" ".join(line.split()[3:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def links() -> set[str]:
    out = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in out.splitlines()}


def outside() -> tuple[object, ...]:
    return mounts(), links(), sorted(Path("/run/netns").iterdir()), sorted(LAB.iterdir())


@pytest.fixture
def before() -> tuple[object, ...]:
    """What there is before the lab of the test starts."""
    return outside()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A lab of three hosts whose command sleeps."""
    hold = f"ip netns add left; touch {tmp_path}/running; exec sleep 1000"
    specs = ["-H", "ns:bookworm:2", "-H", "boot:bookworm"]
    with subprocess.Popen([sys.executable, LAB_PY, "run", *specs, "--", "sh", "-c", hold]) as child:
        try:
            hosts.wait((tmp_path / "running").exists, 60, "the lab does not start")
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize(("victim", "signum"), [("runner", "KILL"), ("runner", "TERM"), ("command", "KILL")])
def test_nothing_is_left_when_it_is_killed(
    before: tuple[object, ...], runner: subprocess.Popen[bytes], victim: str, signum: str
) -> None:
    family = hosts.descendants(runner.pid)
    theirs = set().union(*(spaces(p) for p in family)) - spaces("self")
    assert len(family) > 10, "systemd and three sshd were running"
    assert len(theirs) > 12, "the world's namespaces and those of three hosts"

    sleeping = [p for p in family if Path(f"/proc/{p}/comm").read_text() == "sleep\n"]
    os.kill(runner.pid if victim == "runner" else sleeping[0], signal.Signals[f"SIG{signum}"])
    runner.wait(30)

    end = time.monotonic() + 30
    while left := {pid for pid, ns in everybody().items() if ns & theirs or pid in family}:
        assert time.monotonic() < end, f"processes are left: {left}"
        time.sleep(0.05)
    assert outside() == before


def groups() -> set[str]:
    return {g.name for top in hosts.CGROUPS for g in Path(top).glob("lab-[1-9]*-*")}


def test_the_next_lab_sweeps_the_control_groups_of_a_killed_one(runner: subprocess.Popen[bytes]) -> None:
    ours = {g for g in groups() if g.split("-")[1] == str(runner.pid)}
    runner.kill()
    runner.wait()
    assert ours, "a boot host has a control group"

    def swept() -> bool:
        world.sweep_dead()
        return not groups() & ours

    hosts.wait(swept, 30, "they stay")


def test_the_exit_status_is_the_commands_own() -> None:
    def status(*command: str) -> int:
        return subprocess.run(
            [sys.executable, LAB_PY, "run", "--", *command], check=False, capture_output=True
        ).returncode

    assert [status("true"), status("sh", "-c", "exit 7"), status("sh", "-c", "kill -9 $$")] == [0, 7, 137]


def test_a_user_who_is_not_root_is_told_so() -> None:
    command = [sys.executable, str(LAB_PY), "run", "--", "true"]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )
    if "Permission denied" in done.stderr:
        pytest.skip("the checkout or its Python is in a directory that only root may enter")
    assert done.returncode == 2
    assert done.stderr.startswith("lab: needs root")
    assert done.stderr.count("\n") == 1


def test_a_command_that_does_not_exist_is_named() -> None:
    done = subprocess.run(
        [sys.executable, LAB_PY, "run", "--", "no-such-thing"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "lab: cannot run no-such-thing: No such file or directory\n")


def test_the_outage_can_be_looked_at_by_hand() -> None:
    """What `make lab` starts: the guide's commands work as it prints them."""
    lines = 'python3 "$LAB_PY" allow h2 && python3 "$LAB_PY" allow h1 && $TRY burst 20000 3 1.5'
    command = [sys.executable, str(LAB_PY), "outage", "--", "sh", "-c", lines]
    probe = f"ip netns exec client python3 {LAB_PY.with_name('labkit')}/handshakes.py 10.0.0.100 8080"
    environment = os.environ | {"LAB_PY": str(LAB_PY), "TRY": probe}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    guide, _, answer = done.stdout.strip().rpartition("\n")
    assert f"{probe} burst" in guide
    assert f"{LAB_PY} allow h2" in guide
    assert json.loads(answer) == {"even": {"ok via w1": 3}, "odd": {"ok via w2": 3}}


def test_hosts_can_be_started_without_a_world_too() -> None:
    """Molecule's create.yml does so: `up` and `down` are commands of their own."""

    def lab(*command: str) -> str:
        return sh(sys.executable, LAB_PY, *command).stdout

    assert "web1 ansible_host=" in lab("up", "web1", "ns:bookworm")
    try:
        ssh = ["ssh", "-F", LAB / "ssh_config", "-o", "BatchMode=yes"]
        assert sh(*ssh, "web1", "hostname").stdout == "web1\n"
    finally:
        lab("down", "web1")
    assert not (LAB / "web1").exists()
    assert "lx-web1" not in links()
