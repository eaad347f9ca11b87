"""What is compared between hosts of a cohort: a field that a snapshot gains is, what belongs to one host is not."""

from dataclasses import dataclass, field

import pytest

from hostaudit.checks import View, _alike, all_checks
from hostaudit.cohort import odd
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host, Status
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Firewall, Knob, Link, LinkTable, Platform, Snapshot, Sysctl, Unread


@dataclass
class Mark:
    text: str
    chain: str = "PREROUTING"
    packets: int = 0


@dataclass
class Later(Firewall):
    """A firewall surface as a later version may have it."""

    mangle: list[Mark] = field(default_factory=list)


def snapshot(name, number, *, marks=True):
    rules = [
        Mark(f"-A PREROUTING -s 10.244.{number}.0/24 -i eth0 -m comment --comment {name} -j TPROXY", packets=number)
    ]
    return Snapshot(
        agent="1",
        taken=0.0,
        interval=3.0,
        privileged=True,
        platform=Platform(name, "6.1.0", cpus=number, uptime=float(number)),
        firewall=Later(invalid=[], notrack=[], backends={"nftables": number}, mangle=rules if marks else []),
        sysctl=Sysctl({f"net.ipv4.conf.veth{number}abcd.rp_filter": Knob("1"), "net.ipv4.ip_forward": Knob("1")}),
        link=LinkTable([Link("eth0", 2, 1500), Link(f"tap{number}i0", 3, 1400 + number)]),
    )


def fleet(odd_one):
    hosts = [Collected(Host(f"node{n}"), snapshot(f"node{n}", n), 0.1) for n in (1, 2, 3, 4)]
    hosts.append(Collected(Host("node5"), odd_one, 0.1))
    return evaluate(hosts, Policy(), {"fleet-outlier": all_checks()["fleet-outlier"]})


def test_the_node_that_lacks_a_rule_falls_out_though_no_check_knows_such_rules():
    (finding,) = [f for f in fleet(snapshot("node5", 5, marks=False)) if f.status is Status.FAIL]
    assert finding.host == "node5"
    assert finding.evidence["differences"] == 1
    assert finding.evidence["differs"][0]["what"] == (
        "firewall.mangle[PREROUTING -A PREROUTING -s <address> -i eth0 -m comment --comment <host> -j TPROXY]"
    )


def test_numbers_names_addresses_and_guests_of_one_host_are_no_difference():
    (finding,) = fleet(snapshot("node5", 5))
    assert finding.status is Status.PASS


def test_what_was_not_read_is_no_difference():
    blind = snapshot("node5", 5, marks=False)
    blind.unread = [Unread("firewall.nftables", "needs CAP_NET_ADMIN")]
    assert [f.status for f in fleet(blind)] == [Status.PASS, Status.UNKNOWN]


def test_the_list_is_short_and_says_how_long_it_was():
    other = snapshot("node5", 5)
    assert other.sysctl is not None
    other.sysctl.knobs |= {f"net.core.x{n}": Knob("1") for n in range(40)}
    (finding,) = fleet(other)
    assert finding.evidence["differences"] == 40
    assert len(finding.evidence["differs"]) == 8


def test_rules_that_every_host_has_for_itself_make_nobody_an_outlier():
    hosts = [Collected(Host(f"node{n}"), snapshot(f"node{n}", n), 0.1) for n in range(1, 6)]
    for number, one in enumerate(hosts):
        assert isinstance(one.snapshot.firewall, Later)
        one.snapshot.firewall.mangle.append(
            Mark(f"-A PREROUTING -m comment --comment tenant-{'abcde'[number]} -j MARK")
        )
    (finding,) = evaluate(hosts, Policy(), {"fleet-outlier": all_checks()["fleet-outlier"]})
    assert finding.status is Status.PASS


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("-s 10.244.1.0/24 -j MASQUERADE", "-s <address> -j MASQUERADE"),
        ("ip6 saddr fd00:10::/64 accept", "ip6 saddr <address> accept"),
        ("ether saddr bc:24:11:0a:0b:0c drop", "ether saddr <mac> drop"),
        ("-i tap101i0 -j tap101i0-OUT", "-i tap*i0 -j tap*i0-OUT"),
        ("-j KUBE-SEP-ABCDEF2345672345", "-j KUBE-SEP-*"),
        ("inet filter forward: ct state invalid drop", "inet filter forward: ct state invalid drop"),
        ("meta l4proto tcp 10.1.2", "meta l4proto tcp 10.1.2"),
        ("-j CNI-0123456789abcdef01234567", "-j CNI-*"),
        ("-A CNI-FORWARD -j KUBE-FORWARD", "-A CNI-FORWARD -j KUBE-FORWARD"),
        ("comment pve1 only", "comment <host> only"),
    ],
)
def test_texts_lose_what_belongs_to_one_host(text, plain):
    assert _alike.plain(text, "pve1") == plain


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ("aab", 0.2, ("a", ["2"])),
        ("aaa", 0.2, None),
        ("ab", 0.2, None),
        ("abc", 0.2, None),
        ("aabb", 0.5, None),
        ("aaabb", 0.2, None),
        ("aaaaaaaabb", 0.2, ("a", ["8", "9"])),
    ],
)
def test_odd_are_the_few_against_a_clear_majority(values, share, expected):
    assert odd({str(n): v for n, v in enumerate(values)}, share) == expected


def test_views_of_one_host_are_flat_and_stable():
    view = View(Host("node1"), snapshot("node1", 1), Policy(), all_checks()["fleet-outlier"])
    facts = _alike.flat(view)
    assert facts == _alike.flat(view)
    assert facts["link.links[eth0].mtu"] == "1500"
    assert not [path for path in facts if "uptime" in path or "packets" in path or "tap" in path]
