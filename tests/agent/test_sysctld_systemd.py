"""Random drop-ins, applied by the real systemd-sysctl of Debian 11, 12 and 13 in a namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostaudit_agent.root import Root
from hostaudit_agent.sysctld import Configuration, Files, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.lab

TREES = Path(os.environ.get("LAB_CACHE", "/var/cache/hostaudit-lab"))


def take(root: Root) -> Files:
    unread: list[tuple[str, str]] = []
    found = read(root, lambda part, why: unread.append((part, why)))
    assert unread == []
    return found


LEVELS = ("all", "default", "v0", "v0.7", "lxc1")
KEYS = [
    f"net.ipv4.conf.{level}.rp_filter" for level in ("all", "default", "v0", "v0/7", "lxc1", "*", "v*", "lxc?", "[vl]*")
]
LINES = st.builds(
    lambda sign, key, value: f"{sign}{key}" + (f" = {value}" if value is not None else ""),
    st.sampled_from(["", "", "", "-"]),
    st.sampled_from([*KEYS, "net/ipv4/conf/v0.7/rp_filter", "net.ipv4.conf.v?7.rp_filter"]),
    st.sampled_from(["0", "1", "2", "1", "2", None]),
)
NAMES = st.tuples(
    st.sampled_from(["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"]),
    st.sampled_from(["9-a.conf", "10-a.conf", "B.conf", "a.conf", "z", ".h.conf"]),
)


class Tree:
    """A writable copy of a Debian tree, and a network namespace in which its systemd-sysctl writes."""

    def __init__(self, top: Path, space: Any) -> None:
        self.top, self.space = top, space
        self.program = next(p for p in ("usr/lib/systemd", "lib/systemd") if (top / p / "systemd-sysctl").exists())

    def clear(self) -> None:
        for directory in ("etc", "run", "usr/local/lib", "usr/lib", "lib"):
            shutil.rmtree(self.top / directory / "sysctl.d", ignore_errors=True)

    def apply(self) -> dict[str, str]:
        """Set everything to 0, let systemd-sysctl run, and return what it made of it."""
        with self.space.entered():
            knobs = {level: Path(f"/proc/sys/net/ipv4/conf/{level}/rp_filter") for level in LEVELS}
            for path in knobs.values():
                path.write_text("0")
            command = ["chroot", str(self.top), f"/{self.program}/systemd-sysctl"]
            subprocess.run(command, check=False, capture_output=True)  # one bad line makes it exit 1 in the end
            return {level: path.read_text().strip() for level, path in knobs.items()}


@pytest.fixture(params=["bullseye", "bookworm", "trixie"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, netns: Callable[[], Any]) -> Iterator[Tree]:
    found = sorted(TREES.glob(f"{request.param}-*"))
    if not found:
        pytest.skip(f"needs the lab's tree of {request.param} in {TREES}")
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={found[-1]},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(tmp_path / "root")], check=True)
    try:
        subprocess.run(["mount", "-t", "proc", "proc", str(tmp_path / "root/proc")], check=True)
        (tmp_path / "root/run/systemd/system").mkdir(parents=True)
        space = netns()
        space.ip("link add v0 type veth peer name v0.7", "link add lxc1 type bridge")
        yield Tree(tmp_path / "root", space)
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(tmp_path / "root")], check=True)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(NAMES, st.lists(LINES, min_size=1, max_size=5), min_size=1, max_size=4))
def test_systemd_sets_what_we_say(tree: Tree, contents: dict[tuple[str, str], list[str]]) -> None:
    tree.clear()
    for (directory, name), lines in contents.items():
        (tree.top / directory).mkdir(parents=True, exist_ok=True)
        (tree.top / directory / name).write_text("\n".join(lines) + "\n")
    configuration = Configuration(take(Root(str(tree.top))).lines)
    expected = {}
    for level in LEVELS:
        configured, _ = configuration.of(f"net/ipv4/conf/{level}/rp_filter")
        expected[level] = configured.value if configured else "0"
    assert tree.apply() == expected


def test_the_trees_own_files_are_listed_in_systemds_order(tree: Tree) -> None:
    (tree.top / "etc/sysctl.d/50-pid-max.conf").write_text("net.core.somaxconn = 7\n")
    found = take(Root(str(tree.top)))
    listed = subprocess.run(
        ["chroot", str(tree.top), f"/{tree.program}/systemd-sysctl", "--cat-config"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    headings = [line[2:] for line in listed.splitlines() if line.startswith("# /")]
    applied = list(dict.fromkeys(line.file for line in found.lines))
    assert applied
    assert [name for name in headings if name in applied] == applied
    assert found.applied_by.startswith("systemd 2")
