"""The role pve_firewall on three nodes of one cluster, as a user of the collection runs it, without hostaudit."""

from collections.abc import Iterator
from typing import Any

import pytest
from labkit import hosts, proxmox, proxmox_mount
from labkit.firewall import INVALID
from roles.play import Played, log, ok, play, remediate

NODES = {"pve1": "trixie", "pve2": "bookworm", "pve3": "bullseye"}
KEY = "nf_conntrack_allow_invalid"
ALLOW: dict[str, Any] = {"pve_firewall_options": {KEY: 1}}
FILE = ALLOW | {"pve_firewall_method": "file"}
CLUSTER = "[OPTIONS]\n\nenable: 1\n"
MESSY = f"# by hand\n[OPTIONS]\n{KEY}: yes\ntcpflags: 1\r\ntcpflags: 0\nndp: 1 # note\n\n[RULES]\n"
MESSY += "IN ACCEPT -p tcp -dport 22\n"
"""A comment, a value that Perl ignores, a line that ends in CRLF, the same option twice, a trailing comment."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with hosts.up({name: hosts.Spec(f"boot:{suite}+pve") for name, suite in NODES.items()}):
        proxmox.write("pve1", CLUSTER, "/etc/pve/firewall/cluster.fw")
        for name in NODES:
            proxmox.period(name, 1)
        yield


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Every test finds nodes that were just installed, whose firewall drops INVALID."""
    for name in NODES:
        proxmox.write(name, None)
    for name in NODES:
        hosts.wait(lambda name=name: proxmox.drops(name) is True, proxmox.PATIENCE, f"{name} does not drop")  # type: ignore[misc]


def change(variables: dict[str, Any], *flags: str) -> Played:
    return remediate(["pve_firewall"], variables, *flags)


def words(played: Played) -> str:
    return " ".join(played.text.split())


def seen() -> dict[str, Any]:
    """Return what a change must not touch: host.fw, the rules, and what a guard would leave, of all nodes."""
    return {name: (proxmox.read(name), proxmox.rules(name), proxmox.kept(name), log(name)) for name in NODES}


@pytest.mark.long
def test_all_nodes_and_back() -> None:
    before = seen()
    check = ok(change(ALLOW, "--check", "--diff"))
    assert seen() == before
    assert f"{KEY}: unset -> 1" in check.text
    assert f"+{KEY}: 1" in check.text
    done = ok(change(ALLOW | {"hostaudit_change": "all"}, "--diff"))
    assert done.changed == check.changed == {name: ["pve_firewall"] for name in NODES}
    assert [proxmox.drops(name) for name in NODES] == [False, False, False], "the play ends when the rules are there"
    assert ok(change(ALLOW, "--diff")).changed == {}
    ok(play("rollback.yml", {"hostaudit_change": "all"}))
    for name in NODES:
        hosts.wait(lambda name=name: proxmox.rules(name) == before[name][1], 30, f"{name}: not as before")  # type: ignore[misc]
        assert proxmox.read(name) is None


@pytest.mark.parametrize("flags", [(), ("--check",)], ids=["change", "check"])
def test_one_node_without_quorum_and_nothing_changes_anywhere(flags: tuple[str, ...]) -> None:
    before = seen()
    proxmox_mount.quorum("pve3", lost=True)
    try:
        played = change(ALLOW, *flags)
    finally:
        proxmox_mount.quorum("pve3", lost=False)
    assert all(played.failed.values())
    why = "pve3: the cluster has no quorum, so /etc/pve is read-only; see pvecm status. Nothing was changed, on no host"
    assert why in words(played)
    assert played.changed == {}
    assert seen() == before


@pytest.mark.long
def test_a_later_batch_without_quorum_stops_the_first_one() -> None:
    before = seen()
    proxmox_mount.quorum("pve3", lost=True)
    try:
        played = change(ALLOW | {"hostaudit_serial": 1})
    finally:
        proxmox_mount.quorum("pve3", lost=False)
    assert "pve3, of a later batch: the cluster has no quorum" in words(played)
    assert seen() == before


def test_an_unmounted_file_system_is_refused_everywhere() -> None:
    before = seen()
    hosts.script("pve2", "systemctl stop pve-cluster")
    try:
        played = change(ALLOW)
        assert not hosts.script("pve2", "ls -A /etc/pve"), "nothing was written into the directory below"
    finally:
        hosts.script("pve2", "systemctl start pve-cluster")
    assert "pve2: /etc/pve is not mounted" in words(played)
    # without its files the firewall lets everything pass, until its next turn
    hosts.wait(lambda: proxmox.rules("pve2") == before["pve2"][1], 30, "pve2: its firewall does not come back")
    assert seen() == before


def test_a_firewall_that_does_not_follow_sends_all_nodes_back() -> None:
    before = seen()
    proxmox.frozen("pve2")
    try:
        played = change(ALLOW | {"pve_firewall_wait_seconds": 4})
    finally:
        proxmox.frozen("pve2", thaw=True)
    assert all(played.failed.values())
    told = "pve2: host.fw is written, but 4 s later the firewall does not follow (INVALID packets: v4 drop, v6 drop"
    assert told in words(played)
    assert [proxmox.read(name) for name in NODES] == [None, None, None]
    for name in NODES:
        hosts.wait(lambda name=name: proxmox.rules(name) == before[name][1], 30, f"{name}: not as before")  # type: ignore[misc]
        assert proxmox.kept(name) == []


PATH = "/etc/pve/nodes/pve1/host.fw"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[OPTIONS]\n# by hand\nndp: 1\n", f"saving would delete the comments of {PATH}: 2: # by hand"),
        (
            f"[OPTIONS]\n{KEY}: yes\n",
            f"saving would delete what Proxmox VE does not understand in {PATH}: 2: {KEY}: yes",
        ),
        ("[OPTIONS]\r\nndp: 1\r\n", f"{PATH}: 1: [OPTIONS], 2: ndp: 1"),
        (f"[RULES]\n{KEY}: 1\n", f"pvesh cannot save {PATH}, because it knows no such rule: 2: {KEY}: 1"),
        ("[RULES]\nIN ACCEPT -nonsense 1\n", "unable to parse rule parameters: -nonsense 1"),
    ],
    ids=["comment", "yes", "crlf", "option-below-rules", "bad-rule"],
)
def test_lines_that_would_be_lost_are_named_and_nothing_changes(text: str, why: str) -> None:
    proxmox.write("pve1", text)
    before = seen()
    for flags in (("--check",), ()):
        played = change(ALLOW, *flags)
        assert why in words(played)
        assert all(played.failed.values()), "not one node alone"
    assert seen() == before


def test_lines_go_where_somebody_says_so() -> None:
    proxmox.write("pve1", MESSY)
    drop = {"pve_firewall_drop_comments": True, "pve_firewall_drop_unparsable": True}
    ok(change(ALLOW | drop | {"hostaudit_change": "drop"}, "--limit", "pve1"))
    saved = proxmox.read("pve1") or ""
    assert sorted(saved.split("\n")) == sorted(
        f"[OPTIONS]\n\n{KEY}: 1\ntcpflags: 0\n\n[RULES]\n\nIN ACCEPT -p tcp -dport 22\n\n".split("\n")
    )
    ok(play("rollback.yml", {"hostaudit_change": "drop"}, "--limit", "pve1"))
    assert proxmox.read("pve1") == MESSY


@pytest.mark.long
def test_the_file_method_keeps_every_other_line_and_the_way_back_is_exact() -> None:
    proxmox.write("pve1", MESSY)
    check = ok(change(FILE, "--check", "--diff", "--limit", "pve1"))
    done = ok(change(FILE | {"hostaudit_change": "file"}, "--diff", "--limit", "pve1"))
    assert check.changed == done.changed
    after = proxmox.read("pve1") or ""
    assert after == MESSY.replace(f"{KEY}: yes\n", "").replace("[OPTIONS]\n", f"[OPTIONS]\n{KEY}: 1\n")
    assert proxmox.drops("pve1") is False
    ok(play("rollback.yml", {"hostaudit_change": "file"}, "--limit", "pve1"))
    assert proxmox.read("pve1") == MESSY


@pytest.mark.long
@pytest.mark.parametrize("text", [None, "[RULES]\nIN ACCEPT -p tcp -dport 22\n"], ids=["absent", "rules-only"])
def test_without_pvesh_the_file_is_written(text: str | None) -> None:
    proxmox.write("pve2", text)
    hosts.script("pve2", "mv /usr/bin/pvesh /root/")
    try:
        ok(change(ALLOW | {"hostaudit_change": f"own-{text is None}"}, "--limit", "pve2"))
        assert proxmox.drops("pve2") is False
        assert (proxmox.read("pve2") or "").startswith(f"[OPTIONS]\n{KEY}: 1\n")
        assert hosts.script("pve2", "ls /etc/pve/priv/lock /etc/pve/local | grep -v ':' | sort").split() == [
            "host.fw", "lxc", "priv", "qemu-server",
        ], "neither a lock nor a file beside it is left"  # fmt: skip
        ok(play("rollback.yml", {"hostaudit_change": f"own-{text is None}"}, "--limit", "pve2"))
    finally:
        hosts.script("pve2", "mv /root/pvesh /usr/bin/")
    assert proxmox.read("pve2") == text


@pytest.mark.long
def test_nftables_mode() -> None:
    proxmox.write("pve1", "[OPTIONS]\nnftables: 1\n")
    hosts.wait(lambda: proxmox.drops("pve1") is True and INVALID not in proxmox.rules("pve1"), 30, "no nftables rules")
    before = proxmox.rules("pve1")
    assert "table inet proxmox-firewall {" in before
    ok(change(ALLOW | {"hostaudit_change": "nft"}, "--limit", "pve1"))
    assert proxmox.drops("pve1") is False
    assert ok(change(ALLOW, "--limit", "pve1")).changed == {}
    ok(play("rollback.yml", {"hostaudit_change": "nft"}, "--limit", "pve1"))
    assert proxmox.read("pve1") == "[OPTIONS]\nnftables: 1\n"
    hosts.wait(lambda: proxmox.rules("pve1") == before, 30, "the rules are not as before")


@pytest.mark.long
def test_nftables_mode_with_a_file_that_does_not_load_is_noticed() -> None:
    """pvesh, which is the Perl code, takes the duplicate; proxmox-firewall loads nothing until both lines are one."""
    proxmox.write("pve1", "[OPTIONS]\nnftables: 1\n")
    hosts.wait(lambda: proxmox.drops("pve1") is True and INVALID not in proxmox.rules("pve1"), 30, "no nftables rules")
    broken = "[OPTIONS]\nnftables: 1\nndp: 1\nndp: 0\n"
    proxmox.write("pve1", broken)
    played = change(FILE | {"pve_firewall_wait_seconds": 4}, "--limit", "pve1")
    assert "pve1: host.fw is written, but 4 s later the firewall does not follow" in words(played)
    assert proxmox.read("pve1") == broken
    ok(change(ALLOW | {"hostaudit_change": "dup"}, "--limit", "pve1"))
    assert proxmox.drops("pve1") is False, "pvesh writes each option once"
