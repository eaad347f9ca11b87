import io
import json

import pytest

from hostaudit import report
from hostaudit.model import Finding, Grade, HostReport, Remedy, Run, Severity, Status

RULE = {
    "rule": "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "backend": "iptables-legacy",
    "packets": 412,
    "delta": 30,
}


def failure(host, summary="30 packets dropped as INVALID in 3.0 s", **more):
    values = {
        "grade": Grade.ACTIVE,
        "severity": Severity.HIGH,
        "evidence": {"invalid": 30, "rules": [RULE]},
        "reproduce": "iptables-legacy-save -c",
        "disproof": "the counter stands still",
        "owner": "pve-firewall",
        "remedy": Remedy("pve_firewall", {"pve_firewall_options": {"nf_conntrack_allow_invalid": 1}}),
        "advice": "Accept INVALID on both hypervisors.",
        "check": "conntrack-invalid-drop",
        "host": host,
    }
    return Finding(Status.FAIL, summary, **{**values, **more})


def run_of(*findings, hosts=()):
    counts = {"fail": 1, "pass": 14, "unknown": 1, "n/a": 2, "active": 1, "risk": 0}
    return Run("id", "2026-01-01T00:00:00Z", "2026-01-01T00:00:04Z", "0.1.0", hosts, findings, counts)


def text(run, **style):
    out = io.StringIO()
    report.render("table", run, out, report.Style(**style))
    return out.getvalue()


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_line_is_wider_than_asked_or_ends_in_blanks(width):
    lines = text(run_of(failure("hyp2"), failure("hyp3", advice="x" * 300)), width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line != line.rstrip()]


def test_hosts_with_one_cause_are_one_block():
    shown = text(run_of(failure("hyp1", cause="rule"), failure("hyp2", "31 packets", cause="rule")))
    assert shown.count("conntrack-invalid-drop") == 1
    assert "hyp1, hyp2" in shown
    assert "hyp2: 31 packets" in shown


def test_many_hosts_are_counted_unless_asked_for():
    run = run_of(*[failure(f"web{n:02}", cause="c") for n in range(40)])
    assert "and 29 more (-v names them)" in text(run)
    assert "web39" in text(run, verbose=1)


def test_evidence_command_disproof_and_owner_are_shown():
    shown = text(run_of(failure("hyp2")), width=200)
    assert "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP (backend iptables-legacy, packets 412" in shown
    for word in ("iptables-legacy-save -c", "the counter stands still", "pve-firewall", "nf_conntrack_allow_invalid 1"):
        assert word in shown


def test_passes_are_listed_only_when_asked_for():
    good = Finding(Status.PASS, "12 of 262144 entries", check="conntrack-table-full", host="web1")
    assert "12 of 262144" not in text(run_of(good))
    assert "12 of 262144" in text(run_of(good), show=frozenset({Status.PASS}))


def test_what_is_not_known_and_who_did_not_answer_is_said():
    blind = Finding(Status.UNKNOWN, "firewall was not read: needs CAP_NET_ADMIN", check="bridge-nf-call-off", host="w")
    hosts = (
        HostReport("dead", "unreachable", "no answer within 10 s"),
        HostReport("w", "partial", "firewall: needs CAP_NET_ADMIN"),
    )
    shown = text(run_of(blind, hosts=hosts))
    assert "NOT KNOWN" in shown
    assert "no answer within 10 s" in shown
    assert "READ IN PART" in shown
    assert "2 hosts: 1 partial, 1 unreachable" in shown


def test_markup_from_a_host_stays_text():
    assert "[bold]x[/bold] [link=http://e]" in text(run_of(failure("h", "[bold]x[/bold] [link=http://e]")))


def test_colour_only_when_wanted():
    assert "\x1b[" not in text(run_of(failure("h")))
    assert "\x1b[" in text(run_of(failure("h")), colour=True)


def test_json_has_the_documented_keys_in_order():
    out = io.StringIO()
    report.render("json", run_of(failure("hyp2"), hosts=(HostReport("hyp2", "ok"),)), out, report.Style())
    document = json.loads(out.getvalue())
    assert list(document) == [
        "schema",
        "id",
        "started",
        "finished",
        "version",
        "hosts",
        "findings",
        "counts",
        "guests",
        "causes",
        "waived",
        "notices",
    ]
    assert document["schema"] == "hostaudit.run/1"
    assert list(document["hosts"][0]) == ["name", "status", "reason", "kernel", "platform", "collect_seconds"]
    assert list(document["findings"][0]) == [
        "check",
        "host",
        "status",
        "grade",
        "severity",
        "summary",
        "evidence",
        "reproduce",
        "disproof",
        "owner",
        "remedy",
        "advice",
        "alternatives",
        "cause",
    ]
    assert document["findings"][0]["remedy"]["role"] == "pve_firewall"


def test_json_of_a_cohort_finding_names_its_hosts():
    out = io.StringIO()
    report.render("json", run_of(failure("", hosts=("a", "b"), remedy=None)), out, report.Style())
    (finding,) = json.loads(out.getvalue())["findings"]
    assert finding["hosts"] == ["a", "b"]
    assert "host" not in finding
    assert finding["remedy"] is None
