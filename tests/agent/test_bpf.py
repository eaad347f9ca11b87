"""BPF maps: counted, walked while they change, and Cilium's among them, in a bpffs of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests import bpfmaps

from hostaudit_agent import bpfmap
from hostaudit_agent.bpfmap import Pinned
from hostaudit_agent.collectors import UnreadableError, bpf
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHERE = "sys/fs/bpf/tc/globals"


def nothing(part: str, why: str) -> None:
    raise AssertionError(f"{part}: {why}")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root with a bpffs at its place, and this kernel's /proc."""
    (tmp_path / "proc").symlink_to("/proc")
    place = tmp_path / "sys/fs/bpf"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "bpf", "none", str(place)], check=True)
    try:
        (tmp_path / WHERE).mkdir(parents=True)
        yield Root(str(tmp_path))
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def made() -> Iterator[list[int]]:
    opened: list[int] = []
    yield opened
    for fd in opened:
        os.close(fd)


@pytest.mark.lab
@pytest.mark.parametrize("release", [(6, 1), (6, 15)], ids=["walked", "in batches"])
@pytest.mark.parametrize("number", [0, 1, 17, 5000, 9000])
def test_every_entry_is_counted(
    root: Root, made: list[int], monkeypatch: pytest.MonkeyPatch, number: int, release: tuple[int, int]
) -> None:
    monkeypatch.setattr(bpfmap, "_release", lambda: release)
    path = root.path(f"{WHERE}/m")
    made.append(bpfmaps.create(path, "hash", 14, 56, 10_000))
    bpfmaps.fill(made[0], 14, 56, number)
    with Pinned(path) as opened:
        assert opened.info == ("hash", 14, 56, 10_000, 0)
        assert opened.count(10) == number


@pytest.mark.lab
def test_a_walk_goes_on_when_what_it_stands_on_is_deleted(root: Root, made: list[int]) -> None:
    """The kernel would begin anew: each entry is seen once all the same, also when several in a row are gone."""
    path = root.path(f"{WHERE}/m")
    made.append(bpfmaps.create(path, "hash", 8, 8, 5000))
    bpfmaps.fill(made[0], 8, 8, 5000)
    seen: list[bytes] = []
    with Pinned(path) as opened:
        for number, key in enumerate(opened.keys(10)):
            seen.append(key)
            if number and number % 10 in (6, 7, 8):
                bpfmaps.delete(made[0], key)
        assert len(seen) == len(set(seen)) == 5000
        assert opened.count(10) == 3500


@pytest.mark.lab
def test_a_walk_ends_where_the_last_one_is_deleted(root: Root, made: list[int]) -> None:
    path = root.path(f"{WHERE}/m")
    made.append(bpfmaps.create(path, "hash", 8, 8, 100))
    bpfmaps.fill(made[0], 8, 8, 100)
    with Pinned(path) as opened:
        last = list(opened.keys(10))[-1]
        seen = []
        for key in opened.keys(10):
            seen.append(key)
            if key == last:
                bpfmaps.delete(made[0], key)
    assert len(seen) == 100


@pytest.mark.lab
def test_what_changes_too_fast_is_not_counted(root: Root, made: list[int]) -> None:
    path = root.path(f"{WHERE}/m")
    made.append(bpfmaps.create(path, "hash", 8, 8, 100))
    bpfmaps.fill(made[0], 8, 8, 100)

    def emptied(keys: Iterator[bytes]) -> None:
        next(keys)
        for key in keys:
            bpfmaps.delete(made[0], key)

    with Pinned(path) as opened, pytest.raises(UnreadableError, match="changes faster"):
        emptied(opened.keys(10))


@pytest.mark.lab
@pytest.mark.parametrize("release", [(6, 1), (6, 15)])
def test_the_time_is_bounded(
    root: Root, made: list[int], monkeypatch: pytest.MonkeyPatch, release: tuple[int, int]
) -> None:
    monkeypatch.setattr(bpfmap, "_release", lambda: release)
    path = root.path(f"{WHERE}/m")
    made.append(bpfmaps.create(path, "hash", 8, 8, 10_000))
    bpfmaps.fill(made[0], 8, 8, 10_000)
    with Pinned(path) as opened, pytest.raises(UnreadableError, match=r"^budget: .* entries were counted$"):
        opened.count(0.0)


@pytest.mark.lab
def test_ciliums_tables_and_drops(root: Root, made: list[int]) -> None:
    """An LRU map that was given more than it holds is full, but for what each CPU keeps back."""
    for name, most, number in (("cilium_ct4_global", 50_000, 60_000), ("cilium_snat_v4_external", 1000, 0)):
        fd = bpfmaps.create(root.path(f"{WHERE}/{name}"), "lru_hash", 14, 56, most)
        made.append(fd)
        bpfmaps.fill(fd, 14, 56, number)
    metrics = bpfmaps.create(root.path(f"{WHERE}/{bpf.METRICS}"), "percpu_hash", 8, 16, 1024)
    made.append(metrics)
    for reason, direction, line, packets in ((0, 1, 1, 900), (155, 1, 7, 3), (155, 2, 9, 4), (133, 1, 2, 5)):
        bpfmaps.put(metrics, bpfmaps.metrics_key(reason, direction, line), bpfmaps.metrics_value(packets))
    before = bpf.sample(root)
    assert before == {"155": 7, "133": 5}
    bpfmaps.put(metrics, bpfmaps.metrics_key(155, 2, 9), bpfmaps.metrics_value(14))
    bpfmaps.put(metrics, bpfmaps.metrics_key(169, 1, 1), bpfmaps.metrics_value(1))
    found = bpf.collect(root, before, nothing)
    assert (found.where, found.totals) == (f"/{WHERE}", {"155": 17, "133": 5, "169": 1})
    assert found.delta == {"155": 10, "169": 1}
    tracking, nat = found.maps
    assert (tracking.name, tracking.kind, tracking.max) == ("cilium_ct4_global", "lru_hash", 50_000)
    assert tracking.used is not None
    assert 50_000 - 128 * (os.cpu_count() or 1) - 128 <= tracking.used <= 50_000
    assert (nat.name, nat.used, nat.max) == ("cilium_snat_v4_external", 0, 1000)


@pytest.mark.lab
def test_policy_maps_of_endpoints_the_fullest_first(root: Root, made: list[int]) -> None:
    """A trie's keys begin with the length of the prefix that counts; releases before have a hash."""
    sizes = {
        "cilium_policy_00012": ("hash", 40),
        "cilium_policy_v2_01394": ("lpm_trie", 90),
        "cilium_policy_v2_7": ("hash", 1),
    }
    for name, (kind, number) in {
        **sizes,
        "cilium_policy_v2_8": ("hash", 2),
        "cilium_policystats": ("hash", 99),
    }.items():
        fd = bpfmaps.create(root.path(f"{WHERE}/{name}"), kind, 12, 24, 100)
        made.append(fd)
        for n in range(number):
            bpfmaps.put(fd, (64).to_bytes(4, sys.byteorder) + n.to_bytes(8, "big"), bytes(24))
    found = bpf.collect(root, None, nothing)
    assert [(one.name, one.kind, one.used, one.max) for one in found.policies] == [
        ("cilium_policy_v2_01394", "lpm_trie", 90, 100),
        ("cilium_policy_00012", "hash", 40, 100),
        ("cilium_policy_v2_8", "hash", 2, 100),
    ]


@pytest.mark.lab
def test_a_map_that_is_not_counted_hides_no_other(root: Root, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "SECONDS", 0.0)
    made.append(bpfmaps.create(root.path(f"{WHERE}/cilium_ct4_global"), "lru_hash", 14, 56, 10_000))
    made.append(bpfmaps.create(root.path(f"{WHERE}/cilium_ct6_global"), "lru_hash", 38, 56, 10_000))
    bpfmaps.fill(made[0], 14, 56, 9000)
    said: list[str] = []
    found = bpf.collect(root, None, lambda part, _: said.append(part))
    assert said == ["cilium_ct4_global", "cilium_ct6_global"]
    assert [(one.name, one.used, one.max) for one in found.maps] == [
        ("cilium_ct4_global", None, 10_000),
        ("cilium_ct6_global", None, 10_000),
    ]
    assert found.delta is None


def test_without_cilium_nothing_is_opened(tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / WHERE).mkdir(parents=True)
    (tmp_path / WHERE / "other_map").touch()
    assert bpf.sample(Root(str(tmp_path))) == {}
    assert bpf.collect(Root(str(tmp_path)), {}, nothing).where == ""


def test_cilium_whose_maps_are_elsewhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / "sys/class/net/cilium_host").mkdir(parents=True)
    with pytest.raises(UnreadableError, match="Cilium is here, and its maps are in none of /sys/fs/bpf/tc/globals"):
        bpf.collect(Root(str(tmp_path)), None, nothing)


def test_a_captured_tree_has_no_maps(tmp_path: Path) -> None:
    (tmp_path / WHERE).mkdir(parents=True)
    (tmp_path / WHERE / "cilium_ct4_global").touch()
    assert bpf.collect(Root(str(tmp_path)), None, nothing).maps == []


def test_who_may_not_look_is_told_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").symlink_to("/proc")

    def denied(_: Root, directory: str) -> list[str]:
        raise PermissionError(13, "Permission denied", directory)

    monkeypatch.setattr(Root, "names", denied)
    assert bpf.collect(Root(str(tmp_path)), None, nothing).where == "", "nothing says that Cilium is here"
    (tmp_path / "run/cilium/state").mkdir(parents=True)
    with pytest.raises(UnreadableError, match="needs CAP_BPF"):
        bpf.collect(Root(str(tmp_path)), None, nothing)
