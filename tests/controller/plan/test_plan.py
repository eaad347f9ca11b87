"""What becomes a change, what does not, and why."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hostaudit.knobs import ROLES, moves
from hostaudit.model import Finding, Grade, Host, Remedy, Status, Unreachable
from hostaudit.plan import duration, plan
from hostaudit_agent.snapshot import Knob

COLLECTION = Path(__file__).resolve().parents[3] / "playbooks"
LIMIT = "net.netfilter.nf_conntrack_max"
GONE = Unreachable(Host("pve3", ("hypervisors",)), "timeout", "no answer within 10 s", 10.0)


def failure(host, check, remedy, **more):
    return Finding(
        Status.FAIL, "the summary", grade=Grade.RISK, check=check, host=host, remedy=remedy, advice="the advice", **more
    )


def table(size, buckets=65536):
    return Remedy("conntrack_table", {"conntrack_table_max": size, "conntrack_table_hashsize": buckets})


def knobs(change):
    return {k.knob: (k.running, k.configured, k.then) for k in change.knobs}


def test_a_finding_becomes_the_change_at_its_owner(planned, dropper):
    (change,) = planned(dropper("pve1")).changes
    assert (change.id, change.host, change.cohort) == ("pve1/pve_firewall", "pve1", "hypervisors")
    assert change.vars == {"pve_firewall_options": {"nf_conntrack_allow_invalid": 1}}
    assert knobs(change) == {"host.fw nf_conntrack_allow_invalid": ("0", None, "1")}
    assert change.owner == "pve-firewall"
    assert change.checks == ("conntrack-invalid-drop",)
    assert "without its comments" in change.risk
    assert "left to the guests' own rules" in change.risk
    assert "host.fw nf_conntrack_allow_invalid reads 1, within 15 s" in change.proof
    assert "conntrack-invalid-drop: pass" in change.proof
    assert {
        "platform.kernel",
        "platform.owners",
        "platform.proxmox.implementation",
        "platform.proxmox.options.nf_conntrack_allow_invalid",
        "firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD",
    } <= set(change.facts)
    assert set(change.facts) == set(change.values)


def test_one_role_of_one_host_is_one_change(planned, dropper):
    (change,) = planned(dropper("pve1", conntrack={"count": 260000})).changes
    assert set(change.checks) == {"conntrack-table-full", "conntrack-invalid-drop"}
    assert knobs(change) == {
        "host.fw nf_conntrack_allow_invalid": ("0", None, "1"),
        "host.fw nf_conntrack_max": ("262144", None, "524288"),
    }


def test_a_finding_about_several_hosts_is_a_change_on_each(planned, host, dropper):
    good = [host(name, "pve9", "hypervisors", {"hostaudit_asymmetric": "DSR"}) for name in ("pve1", "pve2", "pve3")]
    made = planned(*good, dropper("pve4"), dropper("pve5"))
    assert [c.id for c in made.changes] == ["pve4/pve_firewall", "pve5/pve_firewall"]
    assert all("conntrack-invalid-policy-mismatch" in c.checks for c in made.changes)
    assert made.declined == ()


def test_running_and_configured_are_both_shown_and_the_file_is_the_owner(host, planned):
    file = {"running": "0", "writable": True, "configured": {"value": "0", "file": "/etc/sysctl.d/h.conf", "line": 2}}
    made = planned(
        host("gw", "debian12", "gw", {"hostaudit_role": "router"}, sysctl={"knobs": {"net.ipv4.ip_forward": file}})
    )
    (change,) = made.changes
    assert knobs(change) == {"net.ipv4.ip_forward": ("0", "0", "1")}
    assert change.owner == "/etc/sysctl.d/h.conf"
    assert change.values["sysctl.knobs.net.ipv4.ip_forward.configured.file"] == "/etc/sysctl.d/h.conf"


def test_of_two_findings_that_disagree_the_worse_is_planned(host, made):
    one = host("h", "tracking")
    findings = [
        failure("h", "conntrack-table-full", table(524288)),
        failure("h", "conntrack-hash-undersized", table(262144)),
    ]
    result = plan(findings, [one], made)
    (change,) = result.changes
    assert change.checks == ("conntrack-table-full",)
    assert change.vars["conntrack_table_max"] == 524288
    assert knobs(change)["nf_conntrack hashsize"] == ("262144", None, "65536")
    (left,) = result.declined
    assert left.check == "conntrack-hash-undersized"
    assert left.reason == (
        "the summary: it wants conntrack_table_max 262144, and 524288 is planned (conntrack-table-full comes first); "
        "plan again when that is done"
    )
    assert left.advice == "the advice"


def test_two_roles_do_not_fight_for_one_knob(host, made):
    one = host("h", "tracking")
    other = Remedy("sysctl", {"sysctl_values": {LIMIT: 1000}})
    result = plan([failure("h", "a", table(524288)), failure("h", "b", other)], [one], made)
    assert [c.role for c in result.changes] == ["conntrack_table"]
    assert f"it wants {LIMIT} 1000, and role conntrack_table sets 524288" in result.declined[0].reason
    agreeing = Remedy("sysctl", {"sysctl_values": {LIMIT: 524288}})
    assert len(plan([failure("h", "a", table(524288)), failure("h", "b", agreeing)], [one], made).changes) == 2


def test_tables_merge_by_key_and_lists_as_a_union(host, made):
    sizes = {f"neighbour_table_gc_thresh{n}": 8192 for n in (1, 2, 3)}
    shown = {f"net.{family}.neigh.default.gc_thresh{n}": "1024" for family in ("ipv4", "ipv6") for n in (1, 2, 3)}
    one = host("h", "debian12", sysctl={"knobs": shown})
    both = [
        failure("h", f, Remedy("neighbour_table", {**sizes, "neighbour_table_families": [f]})) for f in ("ipv4", "ipv6")
    ]
    (change,) = plan(both, [one], made).changes
    assert change.vars["neighbour_table_families"] == ["ipv4", "ipv6"]
    assert len(change.knobs) == 6
    assert change.checks == ("ipv4", "ipv6")


def test_a_finding_without_remedy_keeps_its_advice(host, planned):
    made = planned(host("node", "kube", conntrack={"count": 250000, "max": 262144}))
    assert made.changes == ()
    (left,) = [d for d in made.declined if d.check == "conntrack-table-full"]
    assert left.reason == "250000 of 262144 entries in use (95%): kube-proxy owns the setting, which is changed there"
    assert "conntrack: {maxPerCore: 1, min: 524288}" in left.advice


def test_what_is_not_declared_needs_a_decision(host, planned):
    rule = {"rule": "pve-forward", "packets": 1, "delta": 0}
    made = planned(
        host("pve1", "pve9", platform={"proxmox": {"options": "<empty>"}}, firewall={"invalid": [rule]}),
    )
    (left,) = made.declined
    assert left.reason.endswith("nothing is proposed without a decision of yours")
    assert "trade-off" in left.advice


def test_what_is_not_known_is_said_and_never_a_pass(host, planned):
    made = planned(host("h", "noroot"))
    assert made.changes == ()
    assert any(d.reason.startswith("not known: firewall was not read") for d in made.declined)


def test_a_host_that_did_not_answer_is_named(planned, host):
    (left,) = planned(host("h", "debian12"), Unreachable(Host("dead"), "timeout", "no answer", 1.0)).declined
    assert (left.host, left.check, left.reason) == ("dead", "", "could not be audited: no answer")


# ---- what cannot be set here ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "knob", "why"),
    [
        ("lxc net.core.somaxconn", {"running": "128"}, "read-only (lxc container); set it on the host that runs"),
        ("debian12 net.core.somaxconn", {"running": "128"}, "read-only; /proc/sys is mounted read-only"),
        ("debian12 net.core.somaxconn", {"running": "<none>"}, "this kernel has no net.core.somaxconn"),
        ("debian12 net.core.never_read", None, "net.core.never_read was not read"),
        (f"pve9 {LIMIT}", "262144", f"pve-firewall writes {LIMIT} again every 10 s: set it in"),
        (f"kube {LIMIT}", "262144", f"kube-proxy writes {LIMIT} again when it starts"),
    ],
)
def test_what_this_host_cannot_set(host, made, where, knob, why):
    kind, key = where.split()
    one = host("h", kind, sysctl={"knobs": {key: knob}} if knob else {})
    result = plan([failure("h", "c", Remedy("sysctl", {"sysctl_values": {key: 4096}}))], [one], made)
    assert result.changes == ()
    assert why in result.declined[0].reason
    assert result.declined[0].advice == "the advice"


@pytest.mark.parametrize(("limit", "why"), [({"running": "<none>"}, ""), ("262144", "was not read")])
def test_keys_that_a_module_brings_are_set_before_it_is_there(host, limit, why):
    """The agent lists the timeouts it finds, and finds none before nf_conntrack is loaded; the role loads it."""
    one = host("h", "debian12", sysctl={"knobs": {LIMIT: limit}})
    key = "net.netfilter.nf_conntrack_udp_timeout_stream"
    one.snapshot.sysctl.knobs.pop(key, None)
    found = moves("conntrack_timeouts", {"conntrack_timeouts_seconds": {"udp_stream": 99}}, one.snapshot)
    assert [(k.knob, k.running, k.then) for k in found.knobs] == [(key, None, "99")]
    assert why in found.refused
    assert bool(found.refused) == bool(why)


def test_docker_only_ever_switches_forwarding_on(host, planned):
    made = planned(host("h", "docker", sysctl={"knobs": {"net.ipv4.ip_forward": "0"}}))
    assert [c.role for c in made.changes] == ["sysctl"]
    assert made.changes[0].owner == "docker"


def test_a_limit_of_the_kernel_is_not_set_from_a_container(host, planned):
    made = planned(host("ct", "lxc", conntrack={"loaded": True, "count": 99, "max": 100, "stats": {"drop": 1}}))
    assert made.changes == ()
    (left,) = [d for d in made.declined if d.check == "conntrack-table-full"]
    assert "not settable here, in this lxc container; set it on the host that runs this container" in left.reason


@pytest.mark.parametrize(
    ("proxmox", "why"),
    [
        ({"quorate": False}, "the cluster has no quorum"),
        ({"running": False}, "the firewall's daemon does not run"),
        ({"mounted": False}, "/etc/pve is not mounted"),
        ({"ignored": ["/etc/pve/nodes/pve1/host.fw:3: tcpflags: yes"]}, "would delete when it saves"),
    ],
)
def test_a_node_whose_host_fw_cannot_be_saved(planned, dropper, proxmox, why):
    made = planned(dropper("pve1", platform={"proxmox": {"options": "<empty>", **proxmox}}))
    assert made.changes == ()
    assert why in made.declined[0].reason


def test_an_interface_that_is_gone(host, made):
    result = plan(
        [failure("h", "mtu-mismatch", Remedy("link_mtu", {"link_mtu_links": {"gone0": 9000}}))],
        [host("h", "debian12")],
        made,
    )
    assert "there is no interface gone0" in result.declined[0].reason


def test_a_role_of_another_version(host, made):
    result = plan([failure("h", "c", Remedy("teleport", {"x": 1}))], [host("h", "debian12")], made)
    assert "does not know what role teleport changes" in result.declined[0].reason


def test_an_interface_shows_what_lies_below_it(host):
    one = host("h", "debian12")
    below, above = (
        replace(one.snapshot.link.links[1]),
        replace(one.snapshot.link.links[1], name="wg0.1", underlay="eth0"),
    )
    one.snapshot.link.links = [below, above]
    found = moves("link_mtu", {"link_mtu_links": {"wg0.1": 1420}}, one.snapshot)
    assert [(k.knob, k.running, k.then) for k in found.knobs] == [("mtu wg0.1", "1500", "1420")]
    assert {"link.links.wg0/1.mtu", "link.links.wg0/1.underlay", "link.links.eth0.mtu"} <= set(found.facts)


# ---- half a fix -------------------------------------------------------------------------------------------------


def half(made):
    return {d.host: d.reason for d in made.declined if d.reason.startswith("half a fix: ")}


def test_the_whole_cohort_is_no_half_fix(planned, dropper, host):
    made = planned(dropper("pve1"), dropper("pve2"), host("web", "debian12", "web"))
    assert len(made.changes) == 2
    assert made.declined == ()


@pytest.mark.parametrize(
    ("more", "name", "why"),
    [
        ({"answer": GONE}, "pve3", "it could not be audited, no answer within 10 s"),
        ({"outside": (Host("pve3", ("hypervisors",)),)}, "pve3", "the limit leaves it out"),
    ],
)
def test_a_hypervisor_that_is_missing_is_half_a_fix(planned, dropper, more, name, why):
    answers = [dropper("pve1"), dropper("pve2"), *([more["answer"]] if "answer" in more else [])]
    made = planned(*answers, outside=more.get("outside", ()))
    assert len(made.changes) == 2
    assert list(half(made)) == [name]
    assert why in half(made)[name]
    assert "pve1, pve2 will accept INVALID packets" in half(made)[name]
    assert len(made.declined) == 1


def test_a_hypervisor_that_cannot_be_changed_is_half_a_fix(planned, dropper):
    stuck = dropper("pve2", platform={"proxmox": {"options": "<empty>", "quorate": False}})
    made = planned(dropper("pve1"), stuck)
    assert [c.host for c in made.changes] == ["pve1"]
    assert "it drops them and is not changed" in half(made)["pve2"]
    assert "no quorum" in half(made)["pve2"]
    assert [one.check for one in made.declined] == ["conntrack-invalid-drop", "pve-cluster-quorum"]


def test_a_hypervisor_whose_rules_were_not_read_is_half_a_fix(planned, dropper):
    dark = dropper("pve2")
    dark.snapshot.firewall = None
    assert "whether it drops them could not be read" in half(planned(dropper("pve1"), dark))["pve2"]


def test_others_are_no_part_of_it(planned, dropper, host):
    away = Unreachable(Host("web3", ("web",)), "timeout", "no answer", 1.0)
    accepts = host("pve2", "pve9", "hypervisors", {"hostaudit_asymmetric": "DSR"})
    made = planned(dropper("pve1"), accepts, away, outside=(Host("db1", ("db",)),))
    assert half(made) == {}
    assert [d.host for d in made.declined] == ["web3"]


# ---- the whole --------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_plan(planned, dropper):
    one, two = dropper("pve1"), dropper("pve2")
    assert planned(one, two) == planned(two, one)


@pytest.mark.parametrize(
    ("role", "owner", "seconds"),
    [("sysctl", "", (23, 18)), ("pve_firewall", "pve-firewall", (58, 33)), ("link_mtu", "", (28, 23))],
)
def test_durations(role, owner, seconds):
    assert duration(role, owner) == seconds


def remedies(cases):
    """Every remedy that a check's case gives, with the host that it is for."""
    for parameters in cases.CASES:
        check, case = parameters.values
        hosts = [cases.collected("h1", case), *(cases.collected(p["name"], p) for p in case.get("peers", []))]
        for finding in cases.judge(check, case):
            if finding.remedy is not None:
                yield case["name"], finding, hosts


def fits(value, spec):
    types = {"int": int, "dict": dict, "list": list, "bool": bool, "str": str}
    return isinstance(value, types[spec["type"]]) and not (spec["type"] == "int" and isinstance(value, bool))


def test_every_remedy_names_a_role_that_exists_with_variables_its_specs_know(cases):
    roles = set()
    for name, finding, _ in remedies(cases):
        role = finding.remedy.role
        roles.add(role)
        assert role in ROLES, f"{finding.check}, {name}: no way to tell what {role} changes"
        specs = COLLECTION / "roles" / role / "meta/argument_specs.yml"
        options = yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
        for variable, value in finding.remedy.vars.items():
            assert variable in options, f"{finding.check}, {name}: {role} takes no {variable}"
            assert fits(value, options[variable]), f"{finding.check}, {name}: {role} {variable}={value!r}"
    assert roles == set(ROLES), "roles that no check names, or that no case covers"


def test_every_remedy_of_a_case_becomes_a_change_or_says_why_not(cases, made):
    number = 0
    for name, finding, hosts in remedies(cases):
        for one in hosts:  # the cases hold the knobs that their check reads, the agent always reads all of these
            _complete(one.snapshot, finding.remedy)
        result = plan([finding], hosts, made)
        for host in finding.hosts or (finding.host,):
            changes = [c for c in result.changes if c.host == host]
            reasons = [d.reason for d in result.declined if d.host == host and d.check == finding.check]
            assert len(changes) + len(reasons) == 1, (finding.check, name)
            assert changes or "a line that Proxmox VE does not take" in reasons[0], (finding.check, name, reasons)
            for change in changes:
                number += 1
                assert change.knobs, (finding.check, name)
                assert change.risk
                assert change.proof
                json.dumps(change.values, allow_nan=False)
    assert number > 25


def _complete(snapshot, remedy):
    for knob in moves(remedy.role, remedy.vars, snapshot).knobs:
        if "." in knob.knob and " " not in knob.knob:
            snapshot.sysctl.knobs.setdefault(knob.knob, Knob("1", writable=True))
