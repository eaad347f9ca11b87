"""What is applied survives a reboot on a kernel of its own; and the boot trap, where it does not, is named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit
from labkit.plans import Done, hostaudit

from vm.changes import PATIENT, ifupdown, journal, plan, reboot, source

ROLES: dict[str, dict[str, Any]] = {
    "conntrack_table": {"conntrack_table_max": 500000, "conntrack_table_hashsize": 125000},
    "conntrack_timeouts": {"conntrack_timeouts_seconds": {"tcp_established": 86400, "udp_stream": 99}},
    "sysctl": {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1, "net.core.rmem_max": 4194304}},
    "rp_filter": {"rp_filter_interfaces": {"eth0": 0}, "rp_filter_all": 0},
    "tcp_backlog": {"tcp_backlog_somaxconn": 500, "tcp_backlog_netdev_max_backlog": 3000},
    "neighbour_table": {"neighbour_table_gc_thresh3": 16384, "neighbour_table_gc_thresh2": 8192},
    "link_mtu": {"link_mtu_links": {"eth1": 1400}},
}
LATER = """\
cat >/etc/systemd/system/late.service <<'END'
[Unit]
Description=stands for whatever loads a packet filter some time after systemd-sysctl
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/sbin/modprobe nf_conntrack
[Install]
WantedBy=graphical.target
END
systemctl -q enable late.service
printf 'net.netfilter.nf_conntrack_max = 700000\\n' >/etc/sysctl.d/90-app.conf
modprobe nf_conntrack
sysctl -qw net.netfilter.nf_conntrack_max=700000
"""
KEY = "/proc/sys/net/netfilter/nf_conntrack_max"
TRAP = "sysctl-not-applied-at-boot"
VALUES = {
    KEY: "500000",
    "/proc/sys/net/netfilter/nf_conntrack_buckets": "125440",
    "/sys/module/nf_conntrack/parameters/hashsize": "125440",
    "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": "86400",
    "/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream": "99",
    "/proc/sys/net/ipv4/tcp_mtu_probing": "1",
    "/proc/sys/net/core/rmem_max": "4194304",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "0",
    "/proc/sys/net/ipv4/conf/eth0/rp_filter": "0",
    "/proc/sys/net/core/somaxconn": "500",
    "/proc/sys/net/core/netdev_max_backlog": "3000",
    "/proc/sys/net/ipv4/neigh/default/gc_thresh3": "16384",
    "/proc/sys/net/ipv6/neigh/default/gc_thresh2": "8192",
    "/sys/class/net/eth1/mtu": "1400",
}


@dataclass
class Story:
    """One life of two machines; every test looks at another moment of it."""

    done: dict[str, Done] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)

    def look(self, moment: str, names: list[str]) -> None:
        self.values[moment] = {name: values(name) for name in names}


def values(name: str) -> dict[str, str]:
    read = "; ".join(f"cat {path} 2>/dev/null || echo absent" for path in VALUES)
    return dict(zip(VALUES, hosts.script(name, read).splitlines(), strict=True))


@pytest.fixture(scope="module")
def story(machines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(machines, tmp_path_factory.mktemp("survives"))


def tell(names: list[str], here: Path) -> Story:
    told = Story()
    inventory, book = source(here, names), journal(here)
    for name in names:
        ifupdown(name)
    told.look("before", names)
    made = plan(here / "plan.json", inventory, ROLES)
    words = ["apply", made, "-i", inventory, "--format", "json", *PATIENT, "--serial", "100%"]
    told.done["apply"] = hostaudit(book, *words, "--reason", "larger tables", limit=3000)
    told.look("applied", names)
    reboot(*names)
    told.look("rebooted", names)
    told.audits["rebooted"] = audit(inventory)
    for change in reversed(told.done["apply"].document["changes"]):
        back = hostaudit(book, "rollback", change["id"], "-i", inventory, *PATIENT[:2], limit=3000)
        told.done[f"rollback {change['id']}"] = back
    told.look("undone", names)
    trap(told, names[-1], inventory, here)
    return told


def trap(told: Story, name: str, inventory: Path, here: Path) -> None:
    """An operator raises the limit by hand and in sysctl.d; something else loads the module, too late."""
    one = ("-l", name)
    hosts.script(name, LATER)
    told.audits["before the trap"] = audit(inventory, *one)
    reboot(name)
    hosts.wait(lambda: values(name)[KEY] != "absent", 120, "nothing loaded nf_conntrack")
    told.look("trapped", [name])
    told.audits["trapped"] = audit(inventory, *one)
    made = here / "mend.json"
    words = ["-i", inventory, *one, "--timeout", 120, "--run-timeout", 300]
    told.done["plan"] = hostaudit(here / "trap.db", "plan", *words, "--only", TRAP, "-o", made, limit=600)
    told.done["mend"] = hostaudit(here / "trap.db", "apply", made, "-i", inventory, *PATIENT, limit=1500)
    reboot(name)
    told.look("mended", [name])
    told.audits["mended"] = audit(inventory, *one)


def audit(inventory: Path, *options: str) -> Audit:
    return run_hostaudit(inventory, "--timeout", "120", "--run-timeout", "300", *options, limit=600)


def test_applied_means_running(story: Story) -> None:
    done = story.done["apply"]
    assert done.code == 0, done.stderr
    assert all(h["state"] == "confirmed" for c in done.document["changes"] for h in c["hosts"]), done.stderr
    assert [c["role"] for c in done.document["changes"]] == list(ROLES)
    for name, found in story.values["applied"].items():
        assert found == VALUES, name


def test_nothing_of_it_ran_before(story: Story) -> None:
    for name, found in story.values["before"].items():
        assert not [path for path in VALUES if found[path] == VALUES[path] and "rp_filter" not in path], name
        assert found[KEY] == "absent", "nothing had loaded connection tracking"


def test_every_value_survives_a_reboot(story: Story) -> None:
    for name, found in story.values["rebooted"].items():
        assert found == VALUES, name


def test_the_audit_after_the_reboot_finds_nothing_that_drifted(story: Story) -> None:
    for check in (TRAP, "sysctl-drift"):
        assert story.audits["rebooted"].failures(check) == []


def test_undone_is_as_before_and_the_module_is_gone(story: Story) -> None:
    for name, done in story.done.items():
        assert not name.startswith("rollback") or done.code == 0, done.stderr
    # what was not running before the change comes with the next boot again: the module left, and its keys with it
    assert story.values["undone"] == story.values["before"]


def test_the_boot_trap_is_named_before_it_snaps(story: Story) -> None:
    found = story.audits["before the trap"].failures(TRAP)
    assert len(found) == 1
    assert found[0]["summary"] == "a boot skips nf_conntrack_max: nf_conntrack comes later"
    assert found[0]["remedy"] is None, "everything runs as configured: only the file is missing"
    assert story.audits["before the trap"].failures("sysctl-drift") == []


def test_the_boot_trap_snaps_and_is_named(story: Story) -> None:
    running = next(iter(story.values["trapped"].values()))[KEY]
    assert running not in ("700000", "absent"), "the kernel's own default"
    found = story.audits["trapped"].failures(TRAP)
    assert len(found) == 1
    assert found[0]["evidence"]["lines"]["net.netfilter.nf_conntrack_max"] == {
        "at": "/etc/sysctl.d/90-app.conf:1", "configured": "700000", "running": running,
    }  # fmt: skip
    assert found[0]["remedy"]["role"] == "sysctl"


def test_the_remedy_ends_it_for_good(story: Story) -> None:
    assert story.done["plan"].code == 0, story.done["plan"].stderr
    assert story.done["mend"].code == 0, story.done["mend"].stderr
    assert next(iter(story.values["mended"].values()))[KEY] == "700000"
    assert story.audits["mended"].failures(TRAP) == []
