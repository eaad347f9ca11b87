"""All roles in one change on Debian 11, 12 and 13: drift, the log, a refused undo, and the undo.

Each role by itself, with check mode and repetition, is in Molecule's scenarios: docs/molecule.md.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from labkit import hosts
from roles.play import ALL, BOOKS, KEPT, NAMES, VALUES, Played, furnished, log, ok, play, remediate, states

pytestmark = pytest.mark.long


@dataclass
class Story:
    """One life of three hosts; every test looks at another moment of it."""

    plays: dict[str, Played] = field(default_factory=dict)
    states: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    logs: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def look(self, moment: str) -> None:
        self.states[moment] = states()
        self.kept[moment] = {name: hosts.script(name, KEPT) for name in NAMES}
        self.logs[moment] = {name: log(name) for name in NAMES}


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with furnished():
        yield tell()


def tell() -> Story:
    told = Story()
    roles = list(VALUES)
    told.look("before")
    told.plays["change"] = remediate(roles, ALL | {"hostaudit_change": "c1"}, "--diff")
    told.look("changed")
    hosts.script("b13", "sysctl -qw net.ipv4.tcp_mtu_probing=0; ip link set eth0 mtu 1450; nft flush ruleset")
    told.plays["drift"] = remediate(["sysctl", "link_mtu", "mss_clamp"], ALL, "--check", "--limit", "b13")
    told.plays["refused undo"] = play("rollback.yml", {"hostaudit_change": "c1"}, "--limit", "b13")
    hosts.script("b13", "sysctl -qw net.ipv4.tcp_mtu_probing=1; ip link set eth0 mtu 1400")
    hosts.script("b13", "systemctl restart hostaudit-mss-clamp")
    told.plays["check undo"] = play("rollback.yml", {"hostaudit_change": "c1"}, "--check")
    told.look("before undo")
    told.plays["undo"] = play("rollback.yml", {"hostaudit_change": "c1"})
    told.look("undone")
    return told


def changes(played: Played, name: str) -> dict[str, int]:
    """Role -> tasks that changed something."""
    roles = ok(played).changed.get(name, [])
    return {role: roles.count(role) for role in sorted(set(roles))}


@pytest.mark.parametrize("name", NAMES)
def test_one_line_of_log_per_role(story: Story, name: str) -> None:
    entries = story.logs["changed"][name]
    assert [e["role"] for e in entries if e["event"] == "applied"] == list(VALUES)
    assert [e["event"] for e in entries[len(VALUES) :]] == ["confirmed"]
    assert {e["change"] for e in entries} == {"c1"}
    first = entries[0]["changes"][0]
    assert first == {"kind": "value", "name": "net.ipv4.tcp_mtu_probing", "before": "0", "after": "1"}


@pytest.mark.parametrize("name", NAMES)
def test_a_confirmed_change_leaves_only_its_record(story: Story, name: str) -> None:
    kept = story.kept["changed"][name].splitlines()
    assert not [path for path in kept if "guard-" in path or "/guard/" in path]
    assert "/var/lib/hostaudit/changes/c1" in kept


def test_runtime_drift_is_a_change(story: Story) -> None:
    assert changes(story.plays["drift"], "b13") == {"sysctl": 1, "link_mtu": 1, "mss_clamp": 1}


def test_undo_refuses_what_somebody_changed_since(story: Story) -> None:
    assert story.plays["refused undo"].failed["b13"] == 1
    assert "changed by somebody else since change c1: " in story.plays["refused undo"].text


@pytest.mark.parametrize("name", NAMES)
def test_undo_brings_every_byte_back(story: Story, name: str) -> None:
    assert changes(story.plays["check undo"], name) == {"guard": 1}
    assert story.states["before undo"][name] == story.states["changed"][name], "a refused undo changed nothing"
    assert changes(story.plays["undo"], name) == {"guard": 1}
    assert story.states["undone"][name] == story.states["before"][name]
    assert story.logs["undone"][name][-2]["event"] == "undone"


def test_the_version_is_the_same_in_the_log_and_in_the_collection() -> None:
    versions = {
        line.split(":")[1].strip()
        for file, word in (("galaxy.yml", "version:"), ("roles/guard/tasks/record.yml", "__guard_version:"))
        for line in (BOOKS / file).read_text().splitlines()
        if line.strip().startswith(word)
    }
    assert len(versions) == 1, json.dumps(sorted(versions))
