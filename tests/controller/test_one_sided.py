"""Handshakes that wait on one host while another one drops: the index over a cohort says what a plain search would."""

import random
from collections import Counter

import pytest

from hostaudit.checks import _halves, _invalid, all_checks
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host, Status
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import (
    Census,
    Conntrack,
    Firewall,
    Knob,
    Link,
    LinkTable,
    Namespace,
    Platform,
    Rule,
    Snapshot,
    Sysctl,
)

DROP, PATH = "conntrack-invalid-drop", "asymmetric-path"
VIP = "10.0.0.100"


def router(name, waiting=(), dropped=0, invalid=50, **variables):
    """Return a host that routes and drops INVALID, and the handshakes that wait on it."""
    text = "-m conntrack --ctstate INVALID -j DROP"
    place = ("iptables-legacy", "ip", "filter", "FORWARD", 1)
    conntrack = Conntrack(loaded=True, count=1, max=100, delta={"invalid": invalid})
    conntrack.census = Census(1, 1, 0, {}, {}, 1, False, list(waiting))
    snapshot = Snapshot("1", 0.0, 3.0, privileged=True, platform=Platform(name, "6.1.0"), conntrack=conntrack)
    snapshot.firewall = Firewall(
        [Rule(*place, text, ["INVALID"], False, "drop", ["forward"], dropped, 0, dropped)], [], {}
    )
    snapshot.link = LinkTable([Link("eth0", 2, 1500, up=True)])
    snapshot.sysctl = Sysctl({"net.ipv4.ip_forward": Knob("1")})
    return Collected(Host(name, ("edge",), {"hostaudit_vips": VIP, **variables}), snapshot, 0.1)


def fleet(seed):
    """Return hosts with random handshakes, some of which wait on several hosts."""
    chance = random.Random(seed)  # noqa: S311 - the same fleets every time
    tuples = [f"10.1.0.{n % 7}:{40000 + n}>{VIP if n % 3 else '10.0.0.9'}:{443 + n % 2}" for n in range(40)]
    return [
        router(
            f"r{number:02}",
            chance.sample(tuples, chance.choice((0, 0, 2, 5, 12))),
            chance.choice((0, 0, 90)),
            chance.choice((0, 4, 50)),
        )
        for number in range(chance.randrange(3, 7))
    ]


def plain_pairs(hosts, mine, droppers):
    """Return what the evidence says, by the definition: every dropper beside every other host."""
    waits = {one.host.name: set(one.snapshot.conntrack.census.one_sided) for one in hosts}
    names = [mine, *(name for name in waits if name != mine)]
    return [
        {"dropped_by": dropper, "waiting_on": name, "handshakes": sorted(waits[name] - waits[dropper])[:8]}
        for dropper in droppers
        for name in names
        if name != dropper and waits[name] - waits[dropper]
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_evidence_is_what_a_plain_search_finds(seed):
    hosts = fleet(seed)
    found = {one.host: one for one in evaluate(hosts, Policy(), {DROP: all_checks()[DROP]})}
    dropping = [one.host.name for one in hosts if one.snapshot.firewall.invalid[0].delta]
    assert {name for name, one in found.items() if one.grade == "active"} == set(dropping)
    for name, one in found.items():
        others = [other for other in dropping if other != name]
        mine = [name] if name in dropping else []
        assert one.evidence["peers_dropping"] == others
        assert one.evidence["shown"] == plain_pairs(hosts, name, [*mine, *others])


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_group_is_what_a_plain_search_finds(seed):
    hosts = fleet(seed)
    for finding in evaluate(hosts, Policy(), {PATH: all_checks()[PATH]}):
        me = next(one for one in hosts if one.host.name == finding.host)
        every = bool(me.snapshot.firewall.invalid[0].delta)
        groups = []
        for pair in plain_pairs(hosts, finding.host, [finding.host]):
            for target, number in Counter(one.rpartition(">")[2] for one in pair["handshakes"]).items():
                if every or target.startswith(f"{VIP}:"):
                    groups.append((number, pair["waiting_on"], target))
        most = max(groups, key=lambda group: group[0], default=(0, "", ""))  # the first of the largest
        fails = most[0] >= 3 and me.snapshot.conntrack.delta["invalid"] >= most[0]
        assert (finding.status is Status.FAIL) is fails, most
        if fails:
            evidence = finding.evidence
            assert (len(evidence["handshakes"]), evidence["waiting_on"], evidence["target"]) == most


def test_each_host_is_examined_once_and_no_finding_names_a_whole_fleet(monkeypatch):
    calls = Counter()
    examine = _invalid.examine

    def counted(snapshot):
        calls[snapshot.platform.hostname] += 1
        return examine(snapshot)

    monkeypatch.setattr(_invalid, "examine", counted)
    hosts = [router(f"r{n:03}", [f"10.1.0.1:{n}>{VIP}:443"], 90, hostaudit_asymmetric="DSR") for n in range(120)]
    found = evaluate(hosts, Policy(), {DROP: all_checks()[DROP]})
    assert set(calls.values()) == {1}
    assert len(calls) == 120
    for one in found:
        assert len(one.evidence["shown"]) == len(one.evidence["peers_dropping"]) == _halves.NAMED
        assert next(iter(one.evidence["declared"])) == one.host


def test_a_namespace_is_judged_by_itself_whatever_was_said_of_its_host():
    hosts = [router(f"r{n}", [f"10.1.0.1:{n}>{VIP}:443"], 90) for n in range(3)]
    inside = router("inside").snapshot
    space = Namespace("blue", inside.conntrack, inside.sysctl, firewall=Firewall([], [], {}), link=inside.link)
    hosts[0].snapshot.namespaces.append(space)
    found = evaluate(hosts, Policy(), {DROP: all_checks()[DROP]})
    assert [(one.host, one.netns) for one in found if one.status is Status.PASS] == [("r0", "blue")]
    assert sum(one.grade == "active" for one in found) == 3
