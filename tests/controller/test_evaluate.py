"""What evaluate does around the checks: missing surfaces, namespaces, cohorts, order. The checks here are made up."""

from dataclasses import replace

import pytest

from hostaudit.checks import Check, _links, all_checks, not_applicable, passed
from hostaudit.evaluate import BUG, counts, evaluate, host_reports
from hostaudit.model import Collected, Grade, Host, Severity, Status, Unreachable
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Conntrack, Link, LinkTable, Namespace, Platform, Snapshot, Unread

SNAPSHOT = Snapshot(
    agent="1",
    taken=0.0,
    interval=3.0,
    privileged=True,
    platform=Platform("web1", "6.1.0", os_name="Debian GNU/Linux 12 (bookworm)"),
    conntrack=Conntrack(loaded=True, count=5, max=10),
)


def host_check(function, name="half-full", severity=Severity.HIGH):
    return Check(name, "t", "t", ("conntrack",), severity, {"most": 4}, host=function)


def too_many(view):
    count = view.snapshot.conntrack.count
    if count <= view.threshold("most"):
        return passed("few")
    return view.fail(
        Grade.RISK,
        f"{count} entries",
        evidence={"count": count},
        reproduce="conntrack -C",
        disproof="fewer",
        advice="look",
    )


def collected(name, snapshot=SNAPSHOT, **host):
    return Collected(Host(name, **host), snapshot, 0.5)


def only(*checks):
    return {c.id: c for c in checks}


def test_a_finding_carries_host_check_and_the_severity_of_its_check():
    (finding,) = evaluate([collected("web1")], Policy(), only(host_check(too_many)))
    assert (finding.host, finding.check, finding.status) == ("web1", "half-full", Status.FAIL)
    assert finding.severity is Severity.HIGH
    assert finding.cause == "5 entries"


def test_the_policy_moves_the_threshold():
    policy = Policy({"half-full": {"most": 5}})
    (finding,) = evaluate([collected("web1")], policy, only(host_check(too_many)))
    assert finding.status is Status.PASS


def test_a_check_that_is_off_is_not_run():
    assert evaluate([collected("web1")], Policy(off={"half-full": "noisy"}), only(host_check(too_many))) == []


def test_a_surface_that_was_not_read_is_unknown_with_the_agents_reason():
    blind = replace(SNAPSHOT, conntrack=None, unread=[Unread("conntrack", "needs CAP_NET_ADMIN")])
    (finding,) = evaluate([collected("web1", blind)], Policy(), only(host_check(too_many)))
    assert finding.status is Status.UNKNOWN
    assert finding.summary == "conntrack was not read: needs CAP_NET_ADMIN"


def test_a_surface_that_is_missing_without_a_reason_is_still_unknown():
    (finding,) = evaluate([collected("web1", replace(SNAPSHOT, conntrack=None))], Policy(), only(host_check(too_many)))
    assert finding.status is Status.UNKNOWN


def test_namespaces_are_judged_on_their_own_and_named():
    inner = Namespace("netns blue", conntrack=Conntrack(loaded=True, count=1, max=10))
    whole = replace(SNAPSHOT, namespaces=[inner])
    findings = evaluate([collected("web1", whole)], Policy(), only(host_check(too_many)))
    assert [(f.netns, f.status) for f in findings] == [("", Status.FAIL), ("netns blue", Status.PASS)]


def test_an_unread_surface_of_a_namespace_does_not_borrow_the_hosts():
    inner = Namespace("netns blue")
    whole = replace(SNAPSHOT, namespaces=[inner], unread=[Unread("conntrack", "gone", "netns blue")])
    findings = evaluate([collected("web1", whole)], Policy(), only(host_check(too_many)))
    assert [f.summary for f in findings if f.netns] == ["conntrack was not read: gone"]


def test_peers_are_the_other_hosts_of_the_cohort():
    seen = {}

    def look(view):
        seen[view.host.name] = [p.host.name for p in view.peers]
        return not_applicable("looked")

    hosts = [collected("a1", groups=("a",)), collected("a2", groups=("a",)), collected("b1", groups=("b",))]
    evaluate(hosts, Policy(), only(host_check(look)))
    assert seen == {"a1": ["a2"], "a2": ["a1"], "b1": []}


@pytest.mark.parametrize(("hosts", "calls"), [(2, 0), (3, 1)])
def test_a_cohort_check_needs_three_hosts(hosts, calls):
    called = []

    def compare(views):
        called.append([v.host.name for v in views])
        return []

    check = Check("odd-one-out", "t", "t", ("conntrack",), Severity.LOW, cohort=compare)
    evaluate([collected(f"web{n}") for n in range(hosts)], Policy(), only(check))
    assert len(called) == calls


def test_worst_first_and_the_same_order_every_time():
    def by_name(view):
        grade = Grade.ACTIVE if view.host.name == "z" else Grade.RISK
        return view.fail(grade, "s", evidence={}, reproduce="r", disproof="d", advice="a")

    hosts = [collected("b"), collected("z"), collected("a")]
    checks = only(host_check(by_name, "high"), host_check(by_name, "low", Severity.LOW))
    order = [(f.host, f.check) for f in evaluate(hosts, Policy(), checks)]
    assert order == [("z", "high"), ("z", "low"), ("a", "high"), ("b", "high"), ("a", "low"), ("b", "low")]
    assert order == [(f.host, f.check) for f in evaluate(hosts[::-1], Policy(), checks)]


def test_counts_and_host_reports():
    findings = evaluate([collected("web1")], Policy(), only(host_check(too_many)))
    assert counts(findings) == {"fail": 1, "pass": 0, "unknown": 0, "n/a": 0, "active": 0, "risk": 1}
    partial = replace(SNAPSHOT, unread=[Unread("firewall", "needs CAP_NET_ADMIN")])
    reports = host_reports(
        [collected("web2", partial), collected("web1")], [Unreachable(Host("dead"), "timeout", "no answer", 10.0)]
    )
    assert [(r.name, r.status, r.reason) for r in reports] == [
        ("dead", "unreachable", "no answer"),
        ("web1", "ok", ""),
        ("web2", "partial", "firewall: needs CAP_NET_ADMIN"),
    ]
    assert reports[1].platform == "Debian GNU/Linux 12 (bookworm)"


def test_a_bug_in_one_check_is_said_and_costs_the_others_nothing():
    def broken(view):
        return view.no_such_thing

    checks = only(host_check(broken, "broken"), host_check(too_many))
    findings = evaluate([collected("web1")], Policy(), checks)
    assert [(f.check, f.status) for f in findings] == [("half-full", Status.FAIL), ("broken", Status.UNKNOWN)]
    assert "a bug in this check: AttributeError at test_evaluate.py:" in findings[1].summary
    assert "no_such_thing" in findings[1].evidence[BUG]


def test_a_bug_in_a_cohort_check_names_the_hosts():
    def broken(views):
        return len(views) / 0

    check = Check("odd-one-out", "t", "t", ("conntrack",), Severity.LOW, cohort=broken)
    (finding,) = evaluate([collected(f"web{n}") for n in range(3)], Policy(), only(check))
    assert finding.hosts == ("web0", "web1", "web2")
    assert finding.status is Status.UNKNOWN


def test_the_peers_of_a_host_are_the_others_of_its_cohort_in_order():
    seen = {}

    def look(view):
        names = [peer.host.name for peer in view.peers]
        assert len(view.peers) == len(names)
        assert [view.peers[n].host.name for n in range(len(names))] == names
        assert [peer.host.name for peer in view.peers[1:]] == names[1:]
        assert not names or view.peers[-1].host.name == names[-1]
        seen[view.host.name] = names
        return passed("seen")

    hosts = [collected(name, groups=("web",)) for name in ("c", "a", "b")] + [collected("x", groups=("db",))]
    findings = evaluate(hosts, Policy(), only(host_check(look)))
    assert {f.status for f in findings} == {Status.PASS}
    assert seen == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"], "x": []}


def test_the_mtus_of_a_cohort_are_compared_without_reading_every_host_for_every_host(monkeypatch):
    read = []
    networks = _links.networks
    monkeypatch.setattr(_links, "networks", lambda link: read.append(1) or networks(link))

    def reads(count):
        del read[:]
        links = [
            Link("eth0", 2, 1400 if n == 3 else 1500, up=True, addresses=[f"10.0.0.{n + 1}/8"]) for n in range(count)
        ]
        tables = [LinkTable([link]) for link in links]
        hosts = [
            collected(f"h{n:03}", replace(SNAPSHOT, link=table), groups=("web",)) for n, table in enumerate(tables)
        ]
        findings = evaluate(hosts, Policy(), only(all_checks()["mtu-mismatch"]))
        assert [f.host for f in findings if f.status is Status.FAIL] == ["h003"]
        return len(read)

    assert reads(80) <= 2.1 * reads(40)


def test_a_check_that_gives_one_finding_to_two_hosts_gives_it_to_each():
    same = passed("alike")
    findings = evaluate([collected("a"), collected("b")], Policy(), only(host_check(lambda _view: same)))
    assert [(f.host, f.check, f.summary) for f in findings] == [
        ("a", "half-full", "alike"),
        ("b", "half-full", "alike"),
    ]
