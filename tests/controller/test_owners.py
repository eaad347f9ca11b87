"""Who writes a setting again, and how soon: one table, of which a host's owners, plans and waits are read."""

import pytest

from hostaudit import owners, writers
from hostaudit.change import job, watch
from hostaudit.model import PlannedChange
from hostaudit.plan import COMPILE
from hostaudit_agent.snapshot import Owner, Platform, Proxmox

ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
SYN_RECV = "net.netfilter.nf_conntrack_tcp_timeout_syn_recv"
HOST_FW = "/etc/pve/nodes/pve1/host.fw"


def platform(*names, implementation="", options=(), running=True):
    found = Platform("pve1", "6.8", owners=[Owner(name, "process 7") for name in names])
    if implementation:
        found.proxmox = Proxmox(
            "8.4", "pve1", True, implementation=implementation, running=running, options=dict(options)
        )
    return found


PVE = {"implementation": "iptables"}
RUST = {"implementation": "nftables"}


@pytest.mark.parametrize(
    ("host", "key", "name", "when", "place"),
    [
        (platform(**PVE), ESTABLISHED, "pve-firewall", "every 10 s", f"[OPTIONS] of {HOST_FW}"),
        (platform(**PVE), "net.nf_conntrack_max", "pve-firewall", "every 10 s", f"[OPTIONS] of {HOST_FW}"),
        (platform(**PVE), SYN_RECV, "pve-firewall", "every 10 s", f"[OPTIONS] of {HOST_FW}"),
        (platform(**PVE), "net.ipv4.tcp_syncookies", "pve-firewall", "every 10 s", ""),
        (
            platform("pve-firewall", "kube-proxy", **PVE),
            ESTABLISHED,
            "pve-firewall",
            "every 10 s",
            f"[OPTIONS] of {HOST_FW}",
        ),
        (
            platform(**RUST, options={"nf_conntrack_tcp_timeout_syn_recv": "30"}),
            SYN_RECV,
            "proxmox-firewall",
            "every 5 s",
            f"[OPTIONS] of {HOST_FW}",
        ),
        (
            platform("kube-proxy"),
            ESTABLISHED,
            "kube-proxy",
            "when it starts",
            "its ConfigMap, conntrack.tcpEstablishedTimeout",
        ),
        (platform("cilium"), "net.ipv4.conf.lxc1.rp_filter", "cilium", "when its agent starts", ""),
        (
            platform("docker"),
            "net.ipv4.ip_forward",
            "docker",
            "when it starts",
            '/etc/docker/daemon.json, "ip-forward"',
        ),
    ],
)
def test_who_writes_it_again_on_this_host(host, key, name, when, place):
    found = owners.writer(host, key)
    assert (found.name, found.when, found.place) == (name, when, place)
    assert found.option == (key.rpartition(".")[2] if HOST_FW in place else "")


@pytest.mark.parametrize(
    ("host", "key"),
    [
        (None, ESTABLISHED),
        (platform(), ESTABLISHED),
        (platform("pve-firewall", implementation="iptables", running=False), ESTABLISHED),
        (platform(**PVE, options={"nf_conntrack_tcp_timeout_syn_recv": "30"}), SYN_RECV),
        (platform(**RUST), ESTABLISHED),
        (platform("kube-proxy"), "net.netfilter.nf_conntrack_udp_timeout"),
        (platform("kube-proxy"), "net.ipv4.conf.all.arp_ignore"),
        (platform("cilium"), "net.ipv4.conf.eth0.rp_filter"),
        (platform("docker"), "net.bridge.bridge-nf-call-iptables"),
        (platform("tuned", "systemd-sysctl", "udev"), "net.ipv4.conf.eth0.rp_filter"),
    ],
)
def test_what_is_not_known_to_be_written_has_no_writer(host, key):
    assert owners.writer(host, key) is None


def test_what_docker_writes_is_what_a_remedy_would_write():
    assert owners.writer(platform("docker"), "net.ipv4.ip_forward").agrees
    assert not owners.writer(platform(**PVE), ESTABLISHED).agrees


@pytest.mark.parametrize(
    ("owner", "settles", "watched"),
    [
        ("pve-firewall", 10 + COMPILE, 20 + COMPILE),
        ("proxmox-firewall", 5 + COMPILE, 10 + COMPILE),
        ("docker, pve-firewall", 10 + COMPILE, 20 + COMPILE),
        ("kube-proxy", 0, watch.UNKNOWN_PERIOD),
        ("/etc/sysctl.d/90-app.conf", 0, watch.NOBODY),
        ("", 0, watch.NOBODY),
    ],
)
def test_a_change_waits_and_is_watched_for_as_long_as_the_table_says(owner, settles, watched):
    change = PlannedChange("h/sysctl", "h", "nodes", (), owner, "sysctl", {}, (), 0, 0, "", "", {})
    assert job.settle(change) == settles
    assert watch.period(change) == watched


def test_whoever_works_in_rounds_stands_before_all_others_and_the_place_of_host_fw_is_theirs():
    rounds = [one.period > 0 for one in writers.KNOWN]
    assert rounds == sorted(rounds, reverse=True)
    assert {one.name for one in writers.KNOWN if one.period} == set(writers.FIREWALLS)
    assert all(one.period or one.moment for one in writers.KNOWN)
    assert {one.name for one in writers.KNOWN if one.place == writers.HOST_FW} <= set(writers.FIREWALLS)
