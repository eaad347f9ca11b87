"""The installed agent's tick: what it keeps on disk, whatever happens to that, and what a tick costs."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostaudit.bundle import build
from hostaudit_agent import ring
from hostaudit_agent.ring import dear, watch
from hostaudit_agent.ring.store import LAST, LONGEST, SEGMENTS, Busy, Store
from hostaudit_agent.ring.summary import parse
from hostaudit_agent.root import Root

COMPILE = Path(__file__).parents[2] / "playbooks/roles/agent/files/compile.py"
LIMIT = 4 << 20
WEEK, TICK = 7 * 86400, 60
NOW = 1_795_240_800.0
"""21 November 2026, 06:00 UTC."""
CHAIN = "iptables-legacy ip filter PVEFW-FORWARD"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "ring"), LIMIT, 8 * 86400) as opened:
        yield opened


def lines(store: Store) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, _, _ in store.segments():
        found += parse(Path(store.path(name)).read_bytes())[0]
    return found


def quiet(t: float) -> dict[str, Any]:
    """Return a line as a host with some traffic and no trouble writes it."""
    return {"t": t, "s": 60.1, "c": [1834, 262144], "d": {"Tcp.OutSegs": 51234, "Tcp.RetransSegs": 12}}


# ---- the ring on disk


def test_a_week_of_a_quiet_host_takes_little(store: Store) -> None:
    for t in range(0, WEEK, TICK):
        store.append(quiet(NOW + t), {"t": NOW + t})
    assert 1_000_000 < store.size() < 1_400_000
    assert len(lines(store)) == WEEK / TICK


def test_it_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    limit = 64 << 10
    with Store(str(tmp_path), limit, 8 * 86400) as store:
        for i in range(3000):
            store.append({"t": NOW + i, "s": 1.0, "r": {CHAIN + "x" * (i % 500): i}}, {})
            assert store.size() <= limit
        kept = lines(store)
    assert len(kept) < 3000
    assert kept[-1]["t"] == NOW + 2999, "the newest are kept"
    assert [r["t"] for r in kept] == sorted(r["t"] for r in kept)
    assert len(list(tmp_path.iterdir())) <= SEGMENTS + 3


def test_what_is_too_old_goes(store: Store) -> None:
    long = {"t": NOW, "u": ["x" * 3900]}
    for _ in range(200):
        store.append(long, {})
    names = [name for name, _, _ in store.segments()]
    assert len(names) > 2
    for name in names[:-1]:
        os.utime(store.path(name), (1, 1))
    store.append(long, {})
    assert [name for name, _, _ in store.segments()] == names[-1:]


def test_a_line_that_would_be_too_long_loses_its_lists(store: Store) -> None:
    store.append({"t": NOW, "d": {"conntrack.invalid": 5}, "n": {f"tap{i}": [1 << 40] * 8 for i in range(100)}}, {})
    assert lines(store)[0]["d"] == {"conntrack.invalid": 5}
    assert "n" not in lines(store)[0]
    assert store.size() <= LONGEST


@pytest.mark.parametrize("torn", [b'{"t":1795', b"\0\0\0\0", b'{"t":1}\n{"t', b"\xff\xfe\n"])
def test_a_torn_last_line_costs_nothing_else(store: Store, torn: bytes) -> None:
    store.append(quiet(NOW), {"t": 1})
    name = store.path(store.segments()[0][0])
    with Path(name).open("ab") as file:
        file.write(torn)
    store.append(quiet(NOW + 60), {"t": 2})
    assert [r["t"] for r in lines(store) if r["t"] >= NOW] == [NOW, NOW + 60]
    assert store.last()["t"] == 2


def test_a_tick_that_died_between_line_and_totals_is_not_counted_twice(store: Store) -> None:
    store.append(quiet(NOW), {"d": {"x": 1}})
    before = Path(store.path(LAST)).read_bytes()
    store.append(quiet(NOW + 60), {"d": {"x": 9}})
    Path(store.path(LAST)).write_bytes(before)
    assert store.last() == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"x"', b"\0" * 100])
def test_totals_that_are_none_are_a_new_beginning(store: Store, damage: bytes) -> None:
    store.append(quiet(NOW), {"d": {"x": 1}})
    Path(store.path(LAST)).write_bytes(damage)
    assert store.last() == {}


def test_two_at_once_do_not_mix(store: Store) -> None:
    with pytest.raises(Busy), Store(store.directory, LIMIT, 1):
        pass


@pytest.mark.lab
def test_a_full_disk_loses_no_movement(tmp_path: Path) -> None:
    """On a file system of 64 KiB: the tick says so, keeps nothing, and the next one covers its time."""
    script = """
        mount -t tmpfs -o size=64k none "$1"
        cd "$1"
        tick() { "$2" -I -S "$3" ring --directory "$1/ring" --textfile "$1"; }
        tick "$@" && cp ring/last.json /dev/stdout && echo
        cat /dev/zero >filler 2>/dev/null
        tick "$@" 2>&1; echo "code $?"
        cat hostaudit_agent.prom | grep -c timestamp_seconds
        rm filler; sleep 1.1
        tick "$@"; echo "code $?"; ls -A . ring; cat ring/*.jsonl
    """
    pyz = tmp_path / "a.pyz"
    pyz.write_bytes(build())
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "disk"), sys.executable, str(pyz)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "code 1" in said
    assert any("No space left on device; this tick is not kept" in line for line in said), said
    assert said[said.index("code 1") + 1] == "3", "the metrics of the tick before are still there"
    assert not [line for line in said if line.endswith(".new")]
    first, last = (json.loads(line) for line in said[-2:])
    assert last["s"] == pytest.approx(last["t"] - first["t"], abs=0.3), "it reaches back to the tick that was kept"
    assert last["s"] > 1


# ---- a tick


def test_two_ticks_of_this_machine(tmp_path: Path) -> None:
    directory = str(tmp_path / "ring")
    options = ring.parse(["--directory", directory, f"--textfile={tmp_path}"])
    assert [ring.tick(options, Root()) for _ in range(2)] == [[], []]
    with Store(directory, LIMIT, 1e9) as store:
        first, second = lines(store)
        state = store.last()
    assert "s" not in first
    assert "b" in first, "the first tick has nothing to compare with"
    assert second["s"] < 60
    assert "b" not in second
    assert state["v"]["net.ipv4.ip_forward"] in "01"
    assert (tmp_path / "hostaudit_agent.prom").stat().st_mode & 0o777 == 0o644
    assert Path(directory).stat().st_mode & 0o777 == 0o700


def test_a_setting_that_changes_is_kept_with_both_values(tmp_path: Path) -> None:
    knob = tmp_path / "proc/sys/net/core/somaxconn"
    knob.parent.mkdir(parents=True)
    knob.write_text("4096\n")
    _, state = watch.look(Root(str(tmp_path)), {})
    knob.write_text("128\n")
    record, _ = watch.look(Root(str(tmp_path)), state)
    assert record["v"] == {"net.core.somaxconn": ["4096", "128"]}


def test_a_new_boot_is_no_movement(tmp_path: Path) -> None:
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("one\n")
    net = tmp_path / "proc/net"
    net.mkdir()
    (net / "netstat").write_text("TcpExt: ListenOverflows\nTcpExt: 5\n")
    _, state = watch.look(Root(str(tmp_path)), {})
    (net / "netstat").write_text("TcpExt: ListenOverflows\nTcpExt: 9\n")
    same, _ = watch.look(Root(str(tmp_path)), state)
    boot.write_text("two\n")
    other, _ = watch.look(Root(str(tmp_path)), state)
    assert same["d"] == {"TcpExt.ListenOverflows": 4}
    assert "d" not in other
    assert other["b"] == "two"


@pytest.mark.parametrize(
    ("old", "packets", "invalid", "increase"),
    [({"a": 5}, 9, 4, 4), ({"a": 9}, 5, 100, 0), ({}, 9, 9, 9), ({}, 9, 8, 0)],
    ids=["moved", "reset", "new chain", "counters were restored"],
)
def test_increases_of_a_chain(old: dict[str, int], packets: int, invalid: int, increase: int) -> None:
    assert dear._increase(old, "a", packets, invalid) == increase


@pytest.mark.parametrize("words", [["--bytes", "5"], ["--days", "x"], ["--bytes"], ["--every=1"]])
def test_a_bad_option_is_a_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ring.main(words) == 2
    assert capsys.readouterr().err.startswith("hostaudit-agent ring: ")


def test_it_costs_little(tmp_path: Path) -> None:
    """Compared with a Python that does nothing: whatever else this machine is doing, both feel it."""
    source, target = tmp_path / "a.pyz", tmp_path / "b.pyz"
    source.write_bytes(build())
    python = [sys.executable, "-I", "-S"]
    made = [
        subprocess.run([*python, str(COMPILE), str(source), str(target)], check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [one.stdout for one in made] == ["changed\n", ""]
    tick = [*python, str(target), "ring", "--directory", str(tmp_path / "ring")]
    subprocess.run(tick, check=True)  # the first one reads the rules and the kernel's log
    nothing, one = _cpu([*python, "-c", "pass"]), _cpu(tick)
    assert one < 7 * nothing, f"{one * 1000:.1f} ms, and {nothing * 1000:.1f} ms for nothing"


def _cpu(command: list[str]) -> float:
    """Return the least CPU time of several runs, in seconds."""
    found = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)
