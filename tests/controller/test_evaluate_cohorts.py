"""What checks that compare hosts say of a cohort, and that their work grows with its hosts, not with their square."""

from dataclasses import replace
from statistics import median

import pytest

from hostaudit.checks import all_checks
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Host
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Counters, Link, LinkTable, Platform, Route, RouteTable, Snapshot, Sysctl

SNAPSHOT = Snapshot("1", 0.0, 3.0, privileged=True, platform=Platform("web1", "6.1.0"))


def collected(name, snapshot):
    return Collected(Host(name, ("web",)), snapshot, 0.5)


def only(check):
    return {check: all_checks()[check]}


def counters(opened):
    return Counters({"Tcp.PassiveOpens": 0}, {"Tcp.PassiveOpens": opened})


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_the_usual_rate_is_the_median_of_the_others(count):
    """Of all but the host itself, whether that is the least, the most, in the middle, or one of several alike."""
    opened = [n * 30 // 2 for n in range(count - 1)] + [0]
    hosts = [collected(f"h{n}", replace(SNAPSHOT, counters=counters(one))) for n, one in enumerate(opened)]
    findings = evaluate(hosts, Policy(), only("connection-storm"))
    usual = {f.host: f.evidence["usual"] for f in findings if "usual" in f.evidence}
    for n in range(count):
        others = [one / 3.0 for place, one in enumerate(opened) if place != n]
        if len(others) < 2:
            assert usual.get(f"h{n}") is None
        else:
            assert usual[f"h{n}"] == {
                "per_second": round(median(others), 1),
                "by": f"the median of {len(others)} peers",
            }


def host_on_two_networks(number):
    """A host whose own route to the second network leads over the first: packets that come in on eth1 are dropped."""
    links = [
        Link("eth0", 2, 1500, up=True, addresses=[f"10.0.{number // 200}.{number % 200 + 1}/16"]),
        Link("eth1", 3, 1500, up=True, addresses=[f"10.9.{number // 200}.{number % 200 + 1}/32"]),
    ]
    routes = [Route("10.0.0.0/16", device="eth0"), Route("10.9.0.0/16", device="eth1" if number else "eth0")]
    return replace(
        SNAPSHOT,
        counters=counters(0),
        sysctl=Sysctl({}, {"rp_filter": {"eth0": 1, "eth1": 1}}),
        link=LinkTable(links),
        route=RouteTable(routes),
    )


@pytest.mark.parametrize("check", ["rp-filter-strict", "connection-storm", "fleet-outlier"])
def test_the_work_for_a_cohort_grows_with_its_hosts(check, work):
    def calls(count):
        hosts = [collected(f"h{n:03}", host_on_two_networks(n)) for n in range(count)]
        before = work.calls
        with work.counted():
            evaluate(hosts, Policy(), only(check))
        return work.calls - before

    calls(120)  # what is kept of texts and addresses is there
    assert calls(120) <= 3.5 * calls(40)


def test_a_host_names_the_peers_whose_packets_come_in_on_another_interface():
    hosts = [collected(f"h{n:03}", host_on_two_networks(n)) for n in range(5)]
    findings = evaluate(hosts, Policy(), only("rp-filter-strict"))
    (odd_one,) = [f for f in findings if f.host == "h000"]
    assert "h001 sends it there by 10.9.0.0/16 dev eth1" in str(odd_one.evidence)
    assert "h000" not in str(odd_one.evidence)
