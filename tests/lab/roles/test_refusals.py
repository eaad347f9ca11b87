"""What cannot be done is refused before anything is changed, and one sentence says why."""

from collections.abc import Iterator
from typing import Any

import pytest
from labkit import hosts

from roles.play import ALL, VALUES, furnished, ok, play, remediate, state

pytestmark = pytest.mark.usefixtures("three")


@pytest.fixture(scope="module")
def three() -> Iterator[None]:
    with furnished():
        yield


@pytest.mark.long
def test_connection_tracking_table_where_it_can_be_set() -> None:
    """The kernel lets only the first network namespace set these two: files stand in for them here."""
    modules = "/sys/module/nf_conntrack/parameters"
    stand_ins = {"/proc/sys/net/netfilter/nf_conntrack_max": "262144", f"{modules}/hashsize": "65536"}
    for number, (path, value) in enumerate(stand_ins.items()):
        hosts.script("b13", f"echo {value} >/root/{number}; mount --bind /root/{number} {path}")
    before = state("b13")
    variables = {"conntrack_table_max": 500000, "conntrack_table_hashsize": 125000}
    only = ("--limit", "b13")
    check = ok(remediate(["conntrack_table"], variables, "--check", *only))
    assert state("b13") == before
    change = ok(remediate(["conntrack_table"], variables | {"hostaudit_change": "table"}, *only))
    assert check.changed == change.changed
    assert ok(remediate(["conntrack_table"], variables, *only)).changed == {}
    found = hosts.script("b13", f"cat {' '.join(stand_ins)} /etc/modprobe.d/zz-hostaudit-conntrack.conf")
    assert found.split() == ["500000", "125440", *found.split()[2:-3], "options", "nf_conntrack", "hashsize=125440"]
    assert "nf_conntrack" in hosts.script("b13", "cat /etc/modules-load.d/zz-hostaudit.conf").splitlines()
    ok(play("rollback.yml", {"hostaudit_change": "table"}, *only))
    assert state("b13") == before
    assert hosts.script("b13", f"cat {' '.join(stand_ins)}").split() == ["262144", "65536"]


@pytest.mark.parametrize(
    ("role", "variables", "prepare", "words"),
    [
        (
            "conntrack_table",
            {"conntrack_table_max": 500000, "conntrack_table_hashsize": 125000},
            "",
            "not settable here",
        ),
        ("conntrack_table", {"conntrack_table_hashsize": 125000}, "", "give conntrack_table_max"),
        ("neighbour_table", {"neighbour_table_gc_thresh3": 9000}, "", "not settable here"),
        ("sysctl", {"sysctl_values": {"net.ipv4.no_such_key": 1}}, "", "does not exist in this kernel"),
        (
            "sysctl",
            {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1, "net.ipv4.tcp_retries1": 999}},
            "",
            "the kernel does not take '999'",
        ),
        (
            "sysctl",
            {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1}},
            "echo net/ipv4/tcp_mtu_probing=2 >/etc/sysctl.d/zzz-other.conf",
            "/etc/sysctl.d/zzz-other.conf:1 sets net/ipv4/tcp_mtu_probing to 2",
        ),
        ("rp_filter", {"rp_filter_all": 2}, "sysctl -qw net.ipv4.conf.all.rp_filter=0", "stricter than now on"),
        ("rp_filter", {"rp_filter_interfaces": {"eth0": 0}}, "", "set rp_filter_all too"),
        ("link_mtu", {"link_mtu_links": {"eth0": 1400}}, ": >/etc/network/interfaces.new", "waits to be applied"),
        ("link_mtu", {"link_mtu_links": {"lo": 1400}}, "", "so the value would not last"),
        ("pve_firewall", {}, 'echo \'{"cluster":{"quorate":0}}\' >/etc/pve/.members', "no quorum"),
        ("pve_firewall", {}, "rm /etc/pve/.version", "/etc/pve is not mounted"),
        ("pve_firewall", {}, "sed -i 's/^nosmurfs.*/& # no/' /etc/pve/nodes/*/host.fw", "3: nosmurfs: 0 # no"),
    ],
    ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) else "",
)
def test_refusal(role: str, variables: dict[str, Any], prepare: str, words: str) -> None:
    # only what the kernel refuses cannot be told in check mode
    flags = [] if "999" in words else ["--check"]
    hosts.script("b12", f"cp -a /etc /root/etc; sysctl -n net.ipv4.conf.all.rp_filter >/root/rp\n{prepare}\n")
    try:
        before = state("b12")
        played = remediate([role], variables or VALUES[role], "--limit", "b12", *flags)
        assert played.failed == {"b12": 1}, played.text
        assert words in " ".join(played.text.split())
        assert state("b12") == before
        assert not hosts.script("b12", "ls /var/lib/hostaudit/guard 2>/dev/null || :"), "the guard is gone"
    finally:
        restore = (
            "rm -f /etc/network/interfaces.new /etc/sysctl.d/zzz-other.conf; cp -a /root/etc/pve /etc/; rm -r /root/etc"
        )
        hosts.script("b12", f"{restore}; sysctl -qw net.ipv4.conf.all.rp_filter=$(cat /root/rp)")


def test_without_systemd_the_guard_refuses() -> None:
    with hosts.up({"plain": hosts.Spec("ns:bookworm")}):
        played = remediate(["sysctl"], ALL, "--limit", "plain")
        assert played.failed == {"plain": 1}
        assert "systemd does not run plain" in played.text
        assert "/proc/sys/net/ipv4/tcp_mtu_probing:0" in state("plain")
