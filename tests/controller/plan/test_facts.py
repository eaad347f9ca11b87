"""Facts: the way to a value, what makes it another one, and what must not."""

import copy
from dataclasses import replace

import pytest

from hostaudit.facts import UnknownFactError, changed, digest, fact, said, take
from hostaudit.model import PlannedChange
from hostaudit_agent.snapshot import Assignment, Census, Knob, Link, Owner, Unread


@pytest.fixture
def snapshot(dropper):
    found = dropper("pve1").snapshot
    found.platform.owners.append(Owner("cilium", "process 7 (cilium-agent)"))
    found.link.links.append(Link("eno1.100", 20, 1496, underlay="eno1"))
    found.sysctl.knobs["net.ipv4.conf.eno1/100.rp_filter"] = Knob("1", True, Assignment("1", "/etc/sysctl.d/a.conf", 3))
    found.sysctl.effective["rp_filter"]["eno1.100"] = 2
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("platform.kernel", "6.14.11-4-pve"),
        ("platform.owners", ["cilium", "pve-firewall"]),
        ("platform.first_netns", True),
        ("platform.proxmox.implementation", "iptables"),
        ("platform.proxmox.options", {}),
        ("platform.proxmox.options.nf_conntrack_allow_invalid", None),
        ("sysctl.knobs.net.ipv4.conf.all.rp_filter.running", "2"),
        ("sysctl.knobs.net.ipv4.conf.all.rp_filter.configured.file", "/usr/lib/sysctl.d/pve-firewall.conf"),
        ("sysctl.knobs.net.ipv4.conf.eno1/100.rp_filter.configured.value", "1"),
        ("sysctl.knobs.net.ipv4.conf.eno1/100.rp_filter.writable", True),
        ("sysctl.knobs.no.such.key.running", None),
        ("sysctl.knobs.net.core.somaxconn.configured.value", None),
        ("sysctl.effective.rp_filter.eno1/100", 2),
        ("sysctl.effective.rp_filter.gone0", None),
        ("link.links.eno1/100.mtu", 1496),
        ("link.links.eno1.mtu", 1500),
        ("link.links.gone0.mtu", None),
        ("conntrack.buckets", 65536),
        ("conntrack.timeouts.tcp_established", 432000),
        (
            "firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD",
            ["-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"],
        ),
        ("firewall.invalid.iptables-legacy/ip6/filter/PVEFW-FORWARD", []),
    ],
)
def test_the_way_to_a_value(snapshot, path, value):
    assert fact(snapshot, path) == value


def test_no_rule_at_all_is_an_empty_list(snapshot):
    snapshot.firewall.invalid = []
    assert fact(snapshot, "firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD") == []


def test_no_proxmox_is_absence(host):
    assert fact(host("h", "debian12").snapshot, "platform.proxmox.options.nf_conntrack_max") is None


@pytest.mark.parametrize("path", ["nonsense.x", "platform.no_such", "sysctl.knobs.net.core.somaxconn.running.x"])
def test_a_path_that_leads_nowhere(snapshot, path):
    with pytest.raises(UnknownFactError):
        fact(snapshot, path)


def test_a_surface_that_was_not_read_is_not_absence(snapshot):
    snapshot.sysctl = None
    snapshot.unread.append(Unread("sysctl", "/proc/sys is empty or not mounted"))
    path = "sysctl.knobs.net.core.somaxconn.configured.value"
    assert fact(snapshot, path) == {"unread": "/proc/sys is empty or not mounted"}
    assert digest(fact(snapshot, path)) != digest(None)


@pytest.mark.parametrize(
    ("surface", "path"),
    [
        ("sysctl.net.core.somaxconn", "sysctl.knobs.net.core.somaxconn.running"),
        ("sysctl.configured", "sysctl.knobs.net.core.somaxconn.configured.value"),
        ("platform.proxmox", "platform.proxmox.options.nf_conntrack_allow_invalid"),
        ("platform.proxmox.options", "platform.proxmox.options.nf_conntrack_allow_invalid"),
        ("firewall.iptables-legacy/ip6", "firewall.invalid.iptables-legacy/ip6/filter/PVEFW-FORWARD"),
    ],
)
def test_a_part_that_was_not_read_is_not_absence(snapshot, surface, path):
    snapshot.sysctl.knobs["net.core.somaxconn"] = Knob(None)
    before = fact(snapshot, path)
    snapshot.unread.append(Unread(surface, "Permission denied"))
    assert before in (None, [])
    assert fact(snapshot, path) == {"unread": "Permission denied"}


def test_another_namespace_says_nothing_about_this_one(snapshot):
    snapshot.unread.append(Unread("sysctl.configured", "gone", netns="netns blue"))
    assert fact(snapshot, "sysctl.knobs.net.core.somaxconn.configured.value") is None


def test_the_digest_is_of_the_value_and_not_of_its_order():
    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert len({digest(v) for v in (None, "", "0", 0, False, [], {})}) == 7
    assert digest("é") == digest("\u00e9")


def restless(snapshot):
    """Move everything that moves by itself."""
    other = copy.deepcopy(snapshot)
    other.taken, other.cpu_ms, other.interval = other.taken + 60, 99.0, 7.0
    other.platform.uptime += 60
    for owner in other.platform.owners:
        owner.evidence = "process 4711"
    other.conntrack.count = 4711
    other.conntrack.stats = {name: value + 9 for name, value in other.conntrack.stats.items()}
    other.conntrack.delta = {"invalid": 4711}
    other.conntrack.census = Census(9, 9, 0, {"tcp": 9}, {"ESTABLISHED": 9}, 1, truncated=False)
    other.counters.totals = {name: value + 9 for name, value in other.counters.totals.items()}
    other.counters.delta = {"TcpExt.ListenOverflows": 9}
    for rule in other.firewall.invalid:
        rule.packets, rule.bytes, rule.delta, rule.index = 4711, 4711, 9, rule.index + 1
    other.firewall.backends = {"iptables-legacy/ip": 4711}
    for link in other.link.links:
        link.index += 100
    return other


def changes_of(planned, *hosts):
    return [
        (change, one.snapshot) for one in hosts for change in planned(*hosts).changes if change.host == one.host.name
    ]


@pytest.fixture
def fleet(host, dropper):
    router = host(
        "gw", "router", "gw", {"hostaudit_asymmetric": "ECMP"}, sysctl={"effective": {"rp_filter": {"eth0": 1}}}
    )
    web = host("web", "debian12", "web", {"hostaudit_role": "router"})
    return [dropper("pve1"), dropper("pve2", conntrack={"count": 260000}), router, web]


def test_nothing_that_moves_by_itself_is_a_fact(planned, fleet):
    pairs = changes_of(planned, *fleet)
    assert {change.role for change, _ in pairs} >= {"pve_firewall", "rp_filter", "sysctl"}
    for change, snapshot in pairs:
        assert changed(change, snapshot) == []
        assert changed(change, restless(snapshot)) == []
        assert change.facts


def change_of(snapshot, *paths):
    facts, values = take(snapshot, paths)
    return PlannedChange("h/r", "h", "c", (), "", "r", {}, (), 1, 1, "", "", facts, values)


def test_what_changed_is_named_with_then_and_now(snapshot):
    paths = (
        "platform.proxmox.options.nf_conntrack_allow_invalid",
        "platform.owners",
        "link.links.eno1.mtu",
        "firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD",
    )
    change = change_of(snapshot, *paths)
    snapshot.platform.proxmox.options["nf_conntrack_allow_invalid"] = "1"
    snapshot.platform.owners.pop()
    snapshot.firewall.invalid = []
    assert changed(change, snapshot) == [
        f"{paths[3]}: was -A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP, is nothing now",
        "platform.owners: was cilium; pve-firewall, is pve-firewall now",
        "platform.proxmox.options.nf_conntrack_allow_invalid: was not set, is 1 now",
    ]
    without = replace(change, values={})
    assert "platform.owners: is another, is pve-firewall now" in changed(without, snapshot)


def test_what_cannot_be_read_any_more_is_a_change(snapshot):
    change = change_of(snapshot, "sysctl.knobs.net.core.somaxconn.configured.value")
    snapshot.sysctl = None
    assert changed(change, snapshot) == [
        "sysctl.knobs.net.core.somaxconn.configured.value: was not set, is not readable (sysctl was not read) now"
    ]


def test_a_fact_of_another_version_is_a_change(snapshot):
    change = replace(change_of(snapshot), facts={"platform.colour": digest("red")})
    assert changed(change, snapshot) == [
        "platform.colour: this version of hostaudit does not read it; make the plan again"
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not set"), ("", "not set"), (False, "false"), (7, "7"), (["a", "b"], "a; b"), ([], "nothing")],
)
def test_values_in_a_sentence(value, text):
    assert said(value) == text


def test_a_long_value_is_cut():
    assert len(said("x" * 500)) == 120
