"""The files that are applied at boot: rules by example, and random drop-ins against the real systemd-sysctl."""

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
from hostaudit_agent.sysctld import Configuration, Files, normal, parse, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TREES = Path(os.environ.get("LAB_CACHE", "/var/cache/hostaudit-lab"))


def files(top: Path, **contents: str) -> Root:
    """Write a tree: ``etc__sysctl_d__10`` is etc/sysctl.d/10.conf."""
    (top / "run/systemd/system").mkdir(parents=True)
    for name, text in contents.items():
        path = top / (name.replace("__", "/").replace("sysctl_d", "sysctl.d") + ".conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Root(str(top))


def take(root: Root) -> Files:
    unread: list[tuple[str, str]] = []
    found = read(root, lambda part, why: unread.append((part, why)))
    assert unread == []
    return found


def winner(root: Root, *names: str) -> str | None:
    configured, _ = Configuration(take(root).lines).of(*names)
    return configured and f"{configured.value} {configured.file}:{configured.line}"


def test_the_last_name_wins_whatever_its_directory(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        usr__lib__sysctl_d__99="net.core.somaxconn = 1",
        etc__sysctl_d__10="# a comment\n\n  net.core.somaxconn  =  2 \n",
        run__sysctl_d__50="net/core/somaxconn=3",
    )
    configured, overridden = Configuration(take(root).lines).of("net/core/somaxconn")
    assert configured is not None
    assert (configured.value, configured.file, configured.line) == ("1", "/usr/lib/sysctl.d/99.conf", 1)
    assert [(a.value, a.file, a.line) for a in overridden] == [
        ("2", "/etc/sysctl.d/10.conf", 3),
        ("3", "/run/sysctl.d/50.conf", 1),
    ]


def test_a_name_hides_the_same_name_below(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        etc__sysctl_d__50="k.a = etc",
        usr__lib__sysctl_d__50="k.a = lib\nk.b = lib",
        usr__lib__sysctl_d__60="k.c = lib",
    )
    (tmp_path / "etc/sysctl.d/60.conf").symlink_to("/dev/null")
    found = take(root)
    assert [(line.key, line.value) for line in found.lines] == [("k/a", "etc")]
    assert found.not_applied == {
        "/usr/lib/sysctl.d/50.conf": "/etc/sysctl.d/50.conf has the same name and stands before it",
        "/usr/lib/sysctl.d/60.conf": "/etc/sysctl.d/60.conf (a link to /dev/null) has the same name and stands before"
        " it",
    }


def test_files_that_are_not_read_say_why(tmp_path: Path) -> None:
    root = files(tmp_path, etc__sysctl_d__50="k.a = 1")
    (tmp_path / "etc/sysctl.d/README.sysctl").write_text("prose")
    (tmp_path / "etc/sysctl.d/60-mine").write_text("k.a = 2")
    (tmp_path / "etc/sysctl.d/.70.conf").write_text("k.a = 3")
    (tmp_path / "etc/sysctl.conf").write_text("k.a = 4")
    (tmp_path / "usr/lib/x86_64-linux-gnu/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so").touch()
    found = take(root)
    assert [(line.value, line.file) for line in found.lines] == [("1", "/etc/sysctl.d/50.conf")]
    assert found.applied_by == "systemd 257"
    assert found.not_applied == {
        "/etc/sysctl.d/60-mine": "its name does not end in .conf",
        "/etc/sysctl.d/.70.conf": "its name begins with a dot",
        "/etc/sysctl.conf": "systemd 257 does not read it, and no link in /etc/sysctl.d leads to it",
    }


def test_debian_12_reads_sysctl_conf_through_its_link(tmp_path: Path) -> None:
    root = files(tmp_path, etc__sysctl_d__50="k.a = 1")
    (tmp_path / "etc/sysctl.conf").write_text("k.a = 2\n")
    (tmp_path / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    assert winner(root, "k/a") == "2 /etc/sysctl.d/99-sysctl.conf:1"
    assert take(root).not_applied == {}


def test_sysctl_conf_without_assignments_is_not_worth_a_word(tmp_path: Path) -> None:
    root = files(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.conf").write_text("# nothing\n")
    assert take(root).not_applied == {}


def test_procps_reads_sysctl_conf_last(tmp_path: Path) -> None:
    root = files(tmp_path, etc__sysctl_d__zz="k.a = 1")
    shutil.rmtree(tmp_path / "run/systemd")
    (tmp_path / "etc/init.d").mkdir()
    (tmp_path / "etc/init.d/procps").touch()
    (tmp_path / "etc/sysctl.conf").write_text("k.a = 2\n")
    assert take(root).applied_by == "procps"
    assert winner(root, "k/a") == "2 /etc/sysctl.conf:1"


def test_a_masked_service_applies_nothing(tmp_path: Path) -> None:
    root = files(tmp_path)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/systemd-sysctl.service").symlink_to("/dev/null")
    assert take(root).applied_by == ""


def test_lib_counts_where_it_is_not_a_link(tmp_path: Path) -> None:
    root = files(tmp_path, usr__lib__sysctl_d__10="k.a = 1", lib__sysctl_d__20="k.a = 2")
    assert winner(root, "k/a") == "2 /lib/sysctl.d/20.conf:1"


def test_two_names_of_one_variable(tmp_path: Path) -> None:
    names = ("net/netfilter/nf_conntrack_max", "net/nf_conntrack_max")
    root = files(
        tmp_path, etc__sysctl_d__10="net.netfilter.nf_conntrack_max = 1", etc__sysctl_d__20="net.nf_conntrack_max = 2"
    )
    assert winner(root, *names) == "2 /etc/sysctl.d/20.conf:1"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        (" net.core.somaxconn ", "net/core/somaxconn"),
        ("/net//core/./somaxconn", "net/core/somaxconn"),
        (".net.core.somaxconn", "net/core/somaxconn"),
        ("plain", "plain"),
    ],
)
def test_the_first_separator_decides(key: str, path: str) -> None:
    assert normal(key) == path


def test_lines() -> None:
    text = "a.b = 1 # note\n;c\n -d.e\nf\n-g.h = x # kept\ni.j =\nk.l= 32768\t60999  ; note\n"
    assert [(line.key, line.value, line.number) for line in parse(text, "f")] == [
        ("a/b", "1", 1),
        ("d/e", None, 3),
        ("g/h", "x # kept", 5),
        ("i/j", "", 6),
        ("k/l", "32768 60999", 7),
    ]


def of(text: str, name: str) -> str | None:
    configured, _ = Configuration(parse(text, "f")).of(name)
    return configured and configured.value


def test_patterns_never_set_what_is_named() -> None:
    assert of("a.* = 1\na.b = 2", "a/b") == "2"
    assert of("a.b = 2\na.* = 1", "a/b") == "2"
    assert of("a.* = 1\n-a.b", "a/b") is None
    assert of("a.b = 2\n-a.b", "a/b") is None
    assert of("-a.b\na.b = 2", "a/b") == "2"
    assert of("a.* = 1\n-a.b*", "a/b") == "1"  # compared as it stands
    assert of("a.* = 1\na.b* = 2", "a/b") == "2"
    assert of("a.* = 1\na.b* = 2\na.* = 1", "a/b") == "2"  # nothing new: it stays where it was
    assert of("a.* = 0\na.b* = 2\na.* = 1", "a/b") == "1"
    assert of("a.* = 1", "a/b/c") is None
    assert of("a.[xb] = 1\na.? = 2", "a/b") == "2"
    assert of("a.[!b] = 1", "a/b") is None
    assert of("a.[z-a] = 1", "a/b") is None


@given(st.text(alphabet="ab./*?[]!^-\\ =\n", max_size=60))
def test_garbage_is_not_an_error(text: str) -> None:
    Configuration(parse(text, "f")).of("a/b", "a")


LEVELS = ("all", "default", "v0", "v0.7", "lxc1")
KEYS = [f"net.ipv4.conf.{level}.rp_filter" for level in ("all", "default", "v0", "v0/7", "lxc1", "*", "v*", "lxc?", "[vl]*")]
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


@pytest.mark.lab
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


@pytest.mark.lab
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
