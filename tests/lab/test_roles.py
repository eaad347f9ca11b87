"""Every role on Debian 11, 12 and 13 over SSH: check mode, change, check again, once more, look, undo, look."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from labkit import hosts
from roles.play import ALL, BOOKS, ENGINE, KEPT, NAMES, VALUES, Played, furnished, log, ok, play, remediate, states

MTU = {"b11": "/etc/network/interfaces", "b12": "/etc/network/interfaces.d/eth0"}
MTU["b13"] = "/etc/systemd/network/10-eth0.network.d/zz-hostaudit-mtu.conf"


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
    told.plays["check"] = remediate(roles, ALL, "--check", "--diff")
    told.look("checked")
    told.plays["change"] = remediate(roles, ALL | {"hostaudit_change": "c1"}, "--diff")
    told.look("changed")
    told.plays["check again"] = remediate(roles, ALL, "--check", "--diff")
    told.plays["again"] = remediate(roles, ALL)
    told.look("again")
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
def test_check_mode_says_what_the_change_does(story: Story, name: str) -> None:
    said, done = changes(story.plays["check"], name), changes(story.plays["change"], name)
    assert set(said) == set(done) == {*VALUES} - {*ENGINE} | {"sysctl"}
    # a drop-in in a directory that is yet to be made is one change in check mode and two in truth
    assert {r: n for r, n in said.items() if r != "link_mtu"} == {r: n for r, n in done.items() if r != "link_mtu"}


@pytest.mark.parametrize("name", NAMES)
def test_check_mode_changes_nothing(story: Story, name: str) -> None:
    assert story.states["checked"][name] == story.states["before"][name]
    assert story.kept["checked"][name] == story.kept["before"][name]
    assert story.logs["checked"][name] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", ["check again", "again"])
def test_nothing_is_left_to_do(story: Story, name: str, moment: str) -> None:
    assert changes(story.plays[moment], name) == {}
    assert story.states["again"][name] == story.states["changed"][name]
    assert story.logs["again"][name] == story.logs["changed"][name], "no change, no line"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ipv4/tcp_mtu_probing", "1"),
        ("ipv4/tcp_rmem", "4096\t131072\t6291456"),
        ("netfilter/nf_conntrack_tcp_timeout_established", "86400"),
        ("netfilter/nf_conntrack_udp_timeout", "31"),
        ("netfilter/nf_conntrack_udp_timeout_stream", "99"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/eth0/rp_filter", "0"),
        ("ipv4/conf/lo/rp_filter", "1"),  # what conf.all gave it until now
        ("ipv4/conf/default/rp_filter", "1"),
        ("core/somaxconn", "500"),
        ("ipv4/tcp_max_syn_backlog", "3000"),
    ],
)
def test_kernel_values_now_and_at_boot(story: Story, name: str, path: str, value: str) -> None:
    assert f"/proc/sys/net/{path}:{value}" in story.states["changed"][name]
    line = f"net.{path.replace('/', '.')} = {value.replace(chr(9), ' ')}"
    assert line in hosts.script(name, "cat /var/lib/hostaudit/changes/c1-undo/before/*").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_mtu_is_set_where_its_owner_reads_it(story: Story, name: str) -> None:
    changed = set(story.states["changed"][name]) - set(story.states["before"][name])
    assert any(line.startswith("link eth0") and "mtu 1400" in line for line in changed)
    files = {line.split()[-1] for line in changed if line.startswith("sum ")}
    assert MTU[name] in files


@pytest.mark.parametrize("name", NAMES)
def test_mss_is_clamped_with_what_the_host_uses(story: Story, name: str) -> None:
    rules = [line for line in story.states["changed"][name] if "hostaudit:" in line and not line.startswith("sum")]
    if name == "b11":
        assert len([r for r in rules if r.startswith("iptables-legacy") and "--set-mss 1300" in r]) == 4
        assert len([r for r in rules if r.startswith("ip6tables-legacy") and "--set-mss 1280" in r]) == 4
    else:
        assert len([r for r in rules if r.startswith("nft") and "maxseg" in r]) == 8


@pytest.mark.parametrize("name", NAMES)
def test_proxmox_option_is_set_and_nothing_else(story: Story, name: str) -> None:
    entry = next(e for e in story.logs["changed"][name] if e["role"] == "pve_firewall")
    options = [(c["name"], c["before"], c["after"]) for c in entry["changes"] if c["kind"] == "option"]
    assert options == [("nf_conntrack_allow_invalid", None, "1"), ("nosmurfs", options[1][1], None)]
    assert str(options[1][1]) == "0"
    text = hosts.script(name, "grep -l allow_invalid /var/lib/hostaudit/changes/c1-undo/before/* | xargs cat")
    assert "nf_conntrack_allow_invalid: 1" in text
    assert "IN ACCEPT -p tcp -dport 22" in text
    assert ("# by hand" in text) == (name == "b13"), "pvesh drops comments, the file method keeps them"


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
    assert story.states["before undo"][name] == story.states["again"][name]
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
