"""Each commented block of the example inventory works when it loses its comment signs: the example cannot rot."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostaudit import inventory
from hostaudit.apply import probes
from hostaudit.commands.changing import windows_of
from hostaudit.windows import decide

if TYPE_CHECKING:
    from hostaudit.model import Host

TOP = Path(__file__).resolve().parents[2]
TEXT = (TOP / "inventory.example.ini").read_text(encoding="utf-8")
TITLE = re.compile(r"^# -{4} (.*?) -+$", re.MULTILINE)


def blocks() -> dict[str, str]:
    """Title -> the block below it without its comment signs; what stands before its first section is prose."""
    parts = TITLE.split(TEXT)[1:]
    found = {}
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip("\n").split("\n")
        first = next(n for n, line in enumerate(lines) if line.startswith("# ["))
        assert lines[first - 1] == "", f"{title}: an empty line ends the prose"
        found[title] = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[first:]) + "\n"
    return found


BLOCKS = blocks()


def read(tmp_path: Path, text: str) -> dict[str, Host]:
    file = tmp_path / "inventory.ini"
    file.write_text(text, encoding="utf-8")
    warnings: list[str] = []
    hosts = inventory.load([str(file)], notice=warnings.append)
    assert warnings == []
    return {host.name: host for host in hosts}


def test_as_it_stands_it_is_this_machine(tmp_path: Path) -> None:
    hosts = read(tmp_path, TEXT)
    assert list(hosts) == ["localhost"]
    assert hosts["localhost"].variables["ansible_connection"] == "local"


@pytest.mark.parametrize("title", BLOCKS)
def test_a_block_works_without_its_comment_signs(tmp_path: Path, title: str) -> None:
    # a block of variables only is for a group that another block declares
    groups = {g for text in BLOCKS.values() for g in re.findall(r"^\[(\w+)\]", text, re.MULTILINE)}
    wanted = set(re.findall(r"^\[(\w+):vars\]", BLOCKS[title], re.MULTILINE))
    assert wanted <= groups
    missing = "".join(f"[{g}]\nmember-of-{g}\n" for g in sorted(wanted) if f"[{g}]" not in BLOCKS[title])
    hosts = read(tmp_path, TEXT.partition("# ----")[0] + missing + BLOCKS[title])
    assert len(hosts) > 1
    for name, host in hosts.items():
        assert name == "localhost" or host.variables, name


def test_all_blocks_together(tmp_path: Path) -> None:
    hosts = read(tmp_path, TEXT.partition("# ----")[0] + "".join(BLOCKS.values()))
    assert set(hosts) == {
        "localhost",
        *(f"pve{n}.example.net" for n in (1, 2, 3)),
        *(f"wkr{n:02}.example.net" for n in range(1, 21)),
        "edge1",
    }
    pve, node, edge = hosts["pve2.example.net"], hosts["wkr07.example.net"], hosts["edge1"]
    assert pve.cohort == "pve"
    assert pve.asymmetric.startswith("Cilium DSR: workers answer")
    assert probes.declared([pve])[pve.name] == ("192.0.2.100:443", "192.0.2.101:5432", "[2001:db8::100]:443")
    assert pve.vips == {"192.0.2.100": ("wkr01", "wkr02"), "2001:db8::100": ("wkr01",)}
    assert node.variables["hostaudit_role"] == "node"
    assert node.variables["ansible_become"] == "true"
    assert edge.variables["ansible_ssh_common_args"].startswith("-J ops@jump.example.net -o ServerAlive")
    windows = windows_of([pve, node], str(tmp_path / "none.toml"))
    friday = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert decide(friday, windows[node.name]).open
    assert not decide(friday.replace(hour=12), windows[node.name]).open
    assert decide(friday.replace(hour=12), windows[pve.name]).open, "no window declared"


def test_it_teaches_every_variable_that_hostaudit_reads() -> None:
    """And none that it does not read: a variable that nothing reads would be a promise that nobody keeps."""
    code = "\n".join(f.read_text(encoding="utf-8") for f in (TOP / "src/hostaudit").rglob("*.py"))
    read_here = set(re.findall(r'variables\.get\(\s*"(hostaudit_\w+)"', code))
    for line in re.findall(
        r"^(?:VARIABLE|MANAGEMENT, SERVERS) = .*$", code, re.MULTILINE
    ):  # names of variables, as constants
        read_here |= set(re.findall(r'"(hostaudit_\w+)"', line))
    assert read_here, "the pattern finds nothing any more"
    taught = set(re.findall(r"\b(hostaudit_\w+)=", TEXT))
    assert taught == read_here
