"""One cause with its symptoms: what belongs together, what does not, and how the reports show it."""

import io
import json

import pytest

from hostaudit import report
from hostaudit.catalogue import rows
from hostaudit.causes import RULES, causes, key
from hostaudit.checks import all_checks
from hostaudit.model import Finding, Grade, Run, Severity, Status

ACTIVE, RISK = Grade.ACTIVE, Grade.RISK


def failed(check, host="h1", grade=RISK, **more):
    values = {"severity": Severity.MEDIUM, "evidence": {"n": 1}, "check": check, "host": host, **more}
    return Finding(Status.FAIL, f"{check} fails", grade=grade, **values)


def names(found):
    return [(c.finding.check, [s.check for s in c.symptoms]) for c in found]


def run_of(*findings):
    counts = {"fail": 1, "pass": 0, "unknown": 0, "n/a": 0, "active": 0, "risk": 1}
    return Run("id", "s", "f", "v", (), findings, counts, causes=causes(findings))


def text(run, kind="table"):
    out = io.StringIO()
    report.render(kind, run, out, report.Style())
    return out.getvalue()


def test_what_fills_a_full_table_belongs_to_it():
    findings = [failed("conntrack-table-full", grade=ACTIVE), failed("conntrack-insert-failed", grade=ACTIVE)]
    findings += [failed("conntrack-hash-undersized"), failed("conntrack-timeout-long"), failed("rp-filter-strict")]
    (cause,) = causes(findings)
    assert [s.check for s in cause.symptoms] == [f.check for f in findings[1:4]]
    assert cause.why


def test_another_host_or_namespace_is_another_matter():
    findings = [failed("conntrack-table-full"), failed("conntrack-timeout-long", "h2")]
    assert causes([*findings, failed("conntrack-timeout-long", netns="netns blue")]) == ()


def test_a_risk_does_not_explain_what_is_active():
    assert causes([failed("conntrack-table-full"), failed("conntrack-insert-failed", grade=ACTIVE)]) == ()


@pytest.mark.parametrize("status", [Status.PASS, Status.UNKNOWN, Status.NA])
def test_only_failures_count(status):
    assert (
        causes([failed("conntrack-table-full"), Finding(status, "s", check="conntrack-timeout-long", host="h1")]) == ()
    )


def test_a_finding_of_a_cohort_belongs_to_a_cause_on_one_of_its_hosts():
    odd = failed("conntrack-invalid-policy-mismatch", "", hosts=("h1", "h2"))
    assert names(causes([odd, failed("conntrack-invalid-drop", "h2")])) == [
        ("conntrack-invalid-drop", ["conntrack-invalid-policy-mismatch"])
    ]


def test_the_black_hole_has_one_head():
    found = [failed(c) for c in ("mss-clamp-missing", "mtu-tunnel-overhead", "icmp-frag-needed-blocked")]
    assert names(causes(found)) == [("icmp-frag-needed-blocked", ["mss-clamp-missing", "mtu-tunnel-overhead"])]
    assert names(causes(found[:2])) == [("mtu-tunnel-overhead", ["mss-clamp-missing"])]


def test_a_symptom_of_a_symptom_goes_to_the_top():
    found = [failed(c) for c in ("ephemeral-port-exhaustion", "connection-churn-high", "connection-storm")]
    assert names(causes(found)) == [("connection-storm", ["ephemeral-port-exhaustion", "connection-churn-high"])]


def test_no_rule_leads_back_to_itself():
    above = {s: {r.cause for r in RULES if s in r.symptoms} for rule in RULES for s in rule.symptoms}
    for start in above:
        seen, todo = set(), [start]
        while todo:
            for cause in above.get(todo.pop(), ()):
                assert cause != start
                if cause not in seen:
                    seen.add(cause)
                    todo.append(cause)


def test_rules_name_what_the_catalogue_has():
    assert {name for r in RULES for name in (r.cause, *r.symptoms)} <= {*rows(), *all_checks()}


def test_the_table_shows_the_cause_first_and_symptoms_indented_below():
    lines = text(
        run_of(
            failed("rp-filter-strict", grade=ACTIVE),
            failed("conntrack-insert-failed", grade=ACTIVE, severity=Severity.LOW),
            failed("mtu-mismatch"),
            failed("conntrack-table-full", grade=ACTIVE, severity=Severity.HIGH),
        )
    ).splitlines()
    heads = [line for line in lines if " ACTIVE " in line or " RISK " in line]
    assert [line.split()[2] for line in heads] == [
        "rp-filter-strict",
        "conntrack-table-full",
        "conntrack-insert-failed",
        "mtu-mismatch",
    ]
    assert [len(line) - len(line.lstrip()) for line in heads] == [1, 1, 5, 1]


def test_hosts_with_one_cause_share_its_symptoms_block():
    hosts = ("h1", "h2", "h3")
    found = [failed("conntrack-table-full", h) for h in hosts] + [
        failed("conntrack-timeout-long", h) for h in hosts[:2]
    ]
    shown = text(run_of(*found))
    assert shown.count("conntrack-table-full  ") == 1
    assert "conntrack-timeout-long  h1, h2" in shown
    assert "Belongs to it: These fill the table" in shown


def test_json_names_them_and_keeps_every_finding():
    found = (failed("conntrack-table-full"), failed("conntrack-timeout-long"))
    document = json.loads(text(run_of(*found), "json"))
    assert len(document["findings"]) == 2
    (cause,) = document["causes"]
    assert (cause["check"], cause["host"]) == ("conntrack-table-full", "h1")
    assert cause["symptoms"] == [{"check": "conntrack-timeout-long", "host": "h1"}]


def test_a_key_tells_findings_apart():
    found = [failed("a"), failed("b"), failed("a", "h2"), failed("a", netns="n"), failed("a", "", hosts=("h1",))]
    assert len({key(f) for f in found}) == len(found)
