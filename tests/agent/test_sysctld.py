"""The files that are applied at boot: the rules, by example."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit_agent.root import Root
from hostaudit_agent.sysctld import Configuration, Files, normal, parse, read

if TYPE_CHECKING:
    from pathlib import Path


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


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = files(tmp_path, etc__sysctl_d__10="k.a = 1", etc__sysctl_d__20="k.b = 1", run__sysctl_d__30="k.c = 1")

    def refuse(name: str) -> str | None:
        if name.endswith("20.conf"):
            raise PermissionError(13, "Permission denied", "x")
        return Root.read_text(root, name)

    def hide(directory: str) -> list[str]:
        if directory == "run/sysctl.d":
            raise PermissionError(13, "Permission denied", "x")
        return Root.names(root, directory)

    monkeypatch.setattr(root, "read_text", refuse)
    monkeypatch.setattr(root, "names", hide)
    unread: list[tuple[str, str]] = []
    found = read(root, lambda part, why: unread.append((part, why)))
    assert [line.key for line in found.lines] == ["k/a"]
    assert unread == [
        ("configured", "Permission denied: /run/sysctl.d"),
        ("configured", "Permission denied: /etc/sysctl.d/20.conf"),
    ]
