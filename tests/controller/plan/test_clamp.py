"""The remedy of a missing MSS clamp: what is there now, what it rests on, and what is declined."""

import pytest

from hostaudit.facts import changed, fact
from hostaudit.knobs import moves
from hostaudit_agent.snapshot import MssRule, Unread

CHECK = "mss-clamp-missing"
ROLE = {"mss_clamp_interfaces": ["wg0"]}


def rule(way, size="pmtu", name="wg0", **more):
    sides = {"in_interface": name} if way == "i" else {"out_interface": name}
    text = f"{way}ifname {name} tcp option maxseg size set {size}"
    place = {"backend": "nftables", "family": "inet", "table": "t", "chain": "forward", "index": 1}
    return MssRule(**{**place, "text": text, "size": size, "hooks": ["forward"], **sides, **more})


@pytest.fixture
def gateway(host):
    return host("gw", "laptop", counters={"delta": {"Ip.FragFails": 12}})


def now(gateway, *rules, **variables):
    gateway.snapshot.firewall.mss = list(rules)
    (knob,) = moves("mss_clamp", {**ROLE, **variables}, gateway.snapshot).knobs
    return knob.running, knob.then


def test_it_becomes_a_change_of_each_interface(gateway, planned):
    (change,) = [c for c in planned(gateway).changes if CHECK in c.checks]
    assert (change.role, change.vars, change.owner) == ("mss_clamp", ROLE, "")
    assert [(k.knob, k.running, k.configured, k.then) for k in change.knobs] == [("mss wg0", "none", None, "pmtu")]
    assert {"firewall.mss", "link.links.wg0.mtu", "link.links.wg0.kind"} <= set(change.facts)
    assert "New connections only" in change.risk
    assert change.proof.startswith("mss wg0 reads pmtu, at once. mss-clamp-missing: pass")


def test_what_is_there_now(gateway):
    assert now(gateway) == ("none", "pmtu")
    assert now(gateway, rule("o"), rule("i")) == ("pmtu", "pmtu")
    assert now(gateway, rule("o")) == ("none", "pmtu"), "one way is half a clamp"
    assert now(gateway, rule("o"), rule("i", hooks=[])) == ("none", "pmtu"), "no packet meets it"
    assert now(gateway, rule("o", name="wg1"), rule("i", name="wg1")) == ("none", "pmtu")
    assert now(gateway, rule("o", "1300"), rule("i", "1300")) == ("1300", "pmtu")
    both = [rule(way, size) for way in "oi" for size in ("1300", "pmtu")]
    assert now(gateway, *both) == ("pmtu", "pmtu")
    assert now(gateway, *both, mss_clamp_size=1300) == ("1300", "1300")
    assert now(gateway, rule("o", "1300"), rule("i")) == ("1300, pmtu", "pmtu"), "each way has a size of its own"


def test_rules_that_were_not_read_are_not_absent(gateway):
    gateway.snapshot.firewall = None
    assert moves("mss_clamp", ROLE, gateway.snapshot).knobs[0].running is None


def test_an_interface_that_is_not_there_is_declined(gateway):
    refused = moves("mss_clamp", {"mss_clamp_interfaces": ["wg7"]}, gateway.snapshot).refused
    assert refused == "not settable here: there is no interface wg7"


def test_a_rule_that_came_since_makes_the_plan_stale_and_its_counters_do_not(gateway, planned):
    (change,) = [c for c in planned(gateway).changes if CHECK in c.checks]
    assert changed(change, gateway.snapshot) == []
    gateway.snapshot.firewall.mss = [rule("o", packets=1)]
    assert changed(change, gateway.snapshot) == [
        "firewall.mss: was nothing, is nftables inet t forward: oifname wg0 tcp option maxseg size set pmtu now"
    ]
    before = fact(gateway.snapshot, "firewall.mss")
    gateway.snapshot.firewall.mss = [rule("o", packets=900, index=7)]
    assert fact(gateway.snapshot, "firewall.mss") == before


@pytest.mark.parametrize("part", ["nftables/t", "iptables-legacy/ip"])
def test_a_back_end_that_was_not_read_is_not_no_rule(gateway, part):
    gateway.snapshot.unread.append(Unread(f"firewall.{part}", "Permission denied"))
    assert fact(gateway.snapshot, "firewall.mss") == {"unread": "Permission denied"}
