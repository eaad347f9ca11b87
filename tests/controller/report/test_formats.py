"""What each format for machines promises to its readers. Validity against their schemas: test_consumers.py."""

import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
import samples
from prometheus_client.parser import text_string_to_metric_families

from hostaudit import report
from hostaudit.model import Finding, Grade, HostReport, Severity, Status
from hostaudit.report.page.context import NOTHING


def made(name, run, context=NOTHING, **style):
    out = io.StringIO()
    report.render(name, run, out, report.Style(**style), context)
    return out.getvalue()


def test_every_format_is_found():
    assert report.formats() == [
        "html", "json", "junit", "markdown", "nagios", "ndjson", "prometheus", "sarif", "table"
    ]  # fmt: skip


@pytest.mark.parametrize("name", report.formats())
@pytest.mark.parametrize("run", [samples.forty(), samples.hostile(), samples.run_of([], [])], ids=["40", "bad", "none"])
def test_the_same_run_gives_the_same_text(name, run):
    first = made(name, run, samples.hostile_context())
    assert first == made(name, run, samples.hostile_context())
    assert first.endswith("\n")
    # JSON escapes them; for the table they are replaced where they come in
    if name not in {"json", "ndjson", "sarif", "table"}:
        assert not [c for c in first if c != "\n" and (ord(c) < 32 or c in "\u202e\u2066\u200b\x7f")]


def test_ndjson_is_an_object_a_line_and_each_stands_for_itself():
    run = samples.forty()
    lines = [json.loads(text) for text in made("ndjson", run).splitlines()]
    assert {one["run"] for one in lines} == {run.id}
    kinds = [one["type"] for one in lines]
    assert kinds[0] == "run"
    assert kinds.count("host") == 40
    assert kinds.count("finding") == 25
    assert kinds.count("waived") == 1
    (below,) = [one for one in lines if one.get("check") == "conntrack-timeout-long"]
    assert below["belongs_to"] == "conntrack-table-full"


def junit(run, **style):
    return ET.fromstring(made("junit", run, **style))  # noqa: S314 - made here


def test_junit_names_stay_when_the_outcome_changes():
    sick = junit(samples.forty())
    run = samples.forty()
    well = junit(replace(run, findings=tuple(replace(f, status=Status.PASS) for f in run.findings)))

    def names(root):
        return {(c.get("classname"), c.get("name")) for c in root.iter("testcase")}

    assert names(sick) == names(well)
    assert ("hostaudit.rp-filter-strict", "web03") in names(sick)


def test_junit_tells_failure_error_and_skipped_apart():
    root = junit(samples.forty())
    by = {(c.get("classname"), c.get("name")): c for c in root.iter("testcase")}
    failed = by["hostaudit.conntrack-invalid-drop", "hyp2"].find("failure")
    assert failed.get("type") == "high, active"
    assert failed.get("message") == "PVEFW-FORWARD dropped 72 INVALID packets in 4 s"
    assert samples.SEEN in failed.text
    assert "no answer" in by["hostaudit.host-answers", "db05"].find("error").get("message")
    assert "not known: firewall was not read" in by["hostaudit.bridge-nf-call-off", "db08"].find("skipped").text
    assert "waived until 2026-04-30" in by["hostaudit.fleet-outlier", "edge2"].find("skipped").text
    assert list(by["hostaudit.ip-forward-disabled", "web01"]) == []
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases)
        for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.get(name)) == sum(c.find(kind) is not None for c in cases)


def test_junit_of_one_check_that_fails_twice_on_a_host_is_one_test():
    twice = [samples.finding("mtu-mismatch", "a", summary=s) for s in ("first", "second")]
    (case,) = junit(samples.run_of(twice, [])).findall(".//testcase[@classname='hostaudit.mtu-mismatch']")
    assert len(case) == 1
    assert case[0].get("message") == "first; second"


def test_a_check_that_failed_itself_is_an_error_of_the_test():
    bug = Finding(Status.UNKNOWN, "the check failed", evidence={"bug": "KeyError: 1"}, check="mtu-mismatch", host="a")
    root = junit(samples.run_of([bug], []))
    assert root.find(".//testcase/error").get("type") == "bug in hostaudit"


def sarif(run, **style):
    (only,) = json.loads(made("sarif", run, **style))["runs"]
    return only


def test_sarif_results_point_to_rules_and_hosts():
    run = sarif(samples.forty())
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["kind"] == "fail") or result["level"] == "none"
    hyp2 = next(r for r in run["results"] if r["properties"].get("grade") == "active")
    assert hyp2["locations"] == [{"logicalLocations": [{"name": "hyp2", "fullyQualifiedName": "hyp2", "kind": "host"}]}]
    assert hyp2["level"] == "error"
    rule = rules[hyp2["ruleIndex"]]
    assert rule["help"]["markdown"].startswith("# conntrack-invalid-drop")
    assert {r["kind"] for r in run["results"]} == {"fail", "open"}
    (kept,) = [r for r in run["results"] if "suppressions" in r]
    assert kept["suppressions"][0]["justification"].startswith("the old firewall")
    assert run["invocations"][0]["executionSuccessful"] is False


def test_a_sarif_fingerprint_is_of_the_finding_not_of_its_numbers():
    def prints(run):
        return {(r["ruleId"], r["partialFingerprints"]["hostaudit/v1"]) for r in sarif(run)["results"]}

    run = samples.forty()
    later = replace(run, id="other", findings=tuple(replace(f, summary="9", evidence={}) for f in run.findings))
    assert prints(run) == prints(later)
    assert len(prints(run)) == len(sarif(run)["results"])


def metrics(run):
    found = {}
    for family in text_string_to_metric_families(made("prometheus", run)):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "the collector refuses the whole file"
            found[key] = sample.value
    return found


def test_prometheus_has_each_finding_once_and_what_did_not_answer():
    found = metrics(samples.forty())
    one = (("check", "conntrack-invalid-drop"), ("grade", "active"), ("host", "hyp2"), ("severity", "high"))
    assert found["hostaudit_finding", one] == 1
    assert found["hostaudit_host_audited", (("host", "db05"),)] == 0
    assert found["hostaudit_host_audited", (("host", "hyp1"),)] == 1
    assert found["hostaudit_hosts", (("status", "unreachable"),)] == 1
    assert found["hostaudit_findings", (("status", "fail"),)] == 23
    assert found["hostaudit_run_timestamp_seconds", ()] == samples.START.timestamp()
    assert found["hostaudit_run_duration_seconds", ()] == 9


def test_prometheus_labels_survive_what_hosts_call_themselves():
    hosts = {dict(labels).get("host") for _, labels in metrics(samples.hostile())}
    assert "{{ 7*7 }}{% raw %}" in hosts
    assert "line break | pipe \\backslash \"quote\" 'single' `tick`" in hosts


@pytest.mark.parametrize(
    ("findings", "hosts", "begins"),
    [
        (
            [samples.finding("rp-filter-strict", "a", grade=Grade.ACTIVE)],
            "ok",
            "HOSTAUDIT CRITICAL - active rp-filter-",
        ),
        (
            [samples.finding("rp-filter-strict", "a")],
            "unreachable",
            "HOSTAUDIT WARNING - risk rp-filter-strict on a; 1",
        ),
        ([], "unreachable", "HOSTAUDIT UNKNOWN - 1 host not audited |"),
        ([], "ok", "HOSTAUDIT OK - nothing found on 1 host |"),
        ([samples.finding("x", "a", Status.UNKNOWN)], "partial", "HOSTAUDIT OK - 1 not known |"),
        ([samples.finding("x", "a", severity=Severity.INFO)], "ok", "HOSTAUDIT OK - nothing found"),
    ],
)
def test_nagios_says_the_state_first(findings, hosts, begins):
    line = made("nagios", samples.run_of(findings, [HostReport("a", hosts)]))
    assert line.startswith(begins)
    assert line.count("\n") == 1


def test_nagios_has_one_bar_and_its_numbers_behind_it():
    line = made("nagios", samples.hostile())
    text, data = line.split(" | ")
    assert "|" not in text + data
    numbers = dict(part.split("=") for part in data.split())
    assert numbers == {
        "active": "5;;;0", "risk": "5;;;0", "unknown": "10;;;0", "unreachable": "10;;;0", "hosts": "20;;;0"
    }  # fmt: skip
    assert len(line) < 2000


def test_markdown_has_what_a_ticket_needs():
    text = made("markdown", samples.forty(), samples.everything())
    for words in (
        "## hostaudit: 2 active, 21 at risk",
        "### ACTIVE high `conntrack-invalid-drop`",
        "- Hosts: `hyp2`",
        f"  {samples.SEEN}",
        "`web13` and 6 more",
        "- Belongs to it: RISK medium `conntrack-timeout-long`, `edge1`: 41,200 entries",
        "### Not audited",
        "- `db05`: no answer within 10 s",
        "`pvesh set /nodes/$(hostname -s)/firewall/options --nf_conntrack_allow_invalid 1`",
        "### Over time",
    ):
        assert words in text, words


def test_markdown_keeps_hostile_text_text():
    text = made("markdown", samples.hostile(), samples.hostile_context())
    outside = "".join(part for n, part in enumerate(text.split("`")) if n % 2 == 0)
    for unsafe in ("<script", "<img", "<b>", "![x](", "[click]("):
        assert unsafe not in outside.replace("\\<", "").replace("\\[", ""), unsafe


def test_the_table_draws_what_happened_over_time():
    text = made("table", samples.forty(), samples.everything())
    (line,) = [row for row in text.splitlines() if "INVALID dropped" in row]
    assert "█" in line
    assert "▁▁▁▁▁▁▁  most 25, last 0 packets/s" in line
    assert "OVER TIME" not in made("table", samples.forty())
