"""Waivers: what they cover, that nothing goes silently, that an end is an end."""

import io
import json
from dataclasses import replace
from datetime import date

import pytest

from hostaudit import report
from hostaudit.errors import PolicyError
from hostaudit.model import Finding, Grade, HostReport, Run, Severity, Status
from hostaudit.places import Places
from hostaudit.waivers import parse, waive

CHECKS = ("rp-filter-strict", "conntrack-table-full", "conntrack-timeout-long")
GOOD = {"check": "rp-filter-strict", "host": "web*", "reason": "one way in", "expires": date(2027, 3, 31)}
COHORTS = {"web1": "web", "web2": "web", "db1": "db"}
TODAY = date(2027, 1, 1)


def one(**change):
    return parse([{**GOOD, **change}], CHECKS, Places("site.toml"))


def failed(host="web1", check="rp-filter-strict", **more):
    return Finding(Status.FAIL, "strict", grade=Grade.RISK, severity=Severity.LOW, check=check, host=host, **more)


@pytest.mark.parametrize(
    ("waiver", "finding", "covered"),
    [
        ({}, failed(), True),
        ({}, failed("db1"), False),
        ({}, failed(check="conntrack-table-full"), False),
        ({"check": "*"}, failed(check="conntrack-table-full"), True),
        ({"cohort": "web"}, failed(), True),
        ({"cohort": "db"}, failed(), False),
        ({"host": "*", "cohort": "d*"}, failed("db1"), True),
        ({}, failed("", hosts=("web1", "web2")), True),
        ({}, failed("", hosts=("web1", "db1")), False),
    ],
)
def test_it_covers_its_check_and_every_host_of_the_finding(waiver, finding, covered):
    counting, waived, said = waive([finding], one(**waiver), COHORTS, TODAY)
    assert (bool(waived), bool(counting)) == (covered, not covered)
    assert said == []


def test_only_failures_are_waived():
    unknown = Finding(Status.UNKNOWN, "not read", check="rp-filter-strict", host="web1")
    assert waive([unknown], one(), COHORTS, TODAY) == ([unknown], [], [])


def test_the_last_day_counts_and_the_day_after_speaks_up():
    assert waive([failed()], one(), COHORTS, date(2027, 3, 31))[0] == []
    counting, waived, said = waive([failed()], one(), COHORTS, date(2027, 4, 1))
    assert (len(counting), waived) == (1, [])
    assert len(said) == 1
    assert said[0].startswith("site.toml: the waiver of rp-filter-strict on host web* expired after 2027-03-31: ")
    assert said[0].endswith("1 finding counts again. Renew it or delete it.")


def test_an_expired_waiver_that_nothing_needs_says_so_too():
    assert "nothing needs it now" in waive([], one(), COHORTS, date(2027, 4, 1))[2][0]


TEXT = """\
profile = "strict"

[[waivers]]
check = "rp-filter-strict"
host = "a"
reason = "r"
expires = 2027-01-01

[[waivers]]
check = "conntrack-*"
host = "b"
"""


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (3, "site.toml:9: [[waivers]] entry 2: expected a table"),
        ({**GOOD, "check": 3}, "site.toml:10: [[waivers]] entry 2: check is missing or no text"),
        ({**GOOD, "check": "rp-filter"}, "site.toml:10: [[waivers]] entry 2: no check is called 'rp-filter'"),
        ({**GOOD, "host": 3}, "site.toml:11: [[waivers]] entry 2: host is a name or a glob"),
        ({**GOOD, "hosts": "x"}, "no key 'hosts'; it knows: check, host, cohort, reason, expires"),
        ({**GOOD, "reason": " "}, "site.toml:9: [[waivers]] entry 2: reason is missing"),
        ({**GOOD, "expires": "2027-01-01"}, "expires is the last day, without quotes"),
        ({k: v for k, v in GOOD.items() if k != "expires"}, "expires is the last day"),
        ({k: v for k, v in GOOD.items() if k != "host"}, "host or cohort is missing"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_entry(entry, says):
    with pytest.raises(PolicyError) as caught:
        parse([GOOD, entry], CHECKS, Places("site.toml", TEXT))
    assert str(caught.value).startswith("site.toml:")
    assert says in str(caught.value)


def run_of(found, waivers, today=TODAY):
    counting, waived, said = waive(found, waivers, COHORTS, today)
    counts = {"fail": len(counting), "pass": 0, "unknown": 0, "n/a": 0, "active": 0, "risk": len(counting)}
    counts["waived"] = len(waived)
    hosts = (HostReport("web1", "ok"),)
    return Run("id", "s", "f", "v", hosts, tuple(counting), counts, waived=tuple(waived), notices=tuple(said))


def text(run, kind="table"):
    out = io.StringIO()
    report.render(kind, run, out, report.Style(width=120))
    return out.getvalue()


def test_the_table_counts_them_and_names_them_in_one_line():
    shown = text(run_of([failed(), failed("web2")], one()))
    assert "2 findings\n    rp-filter-strict on web1, web2, until 2027-03-31: one way in" in shown
    assert "2 waived" in shown
    assert "RISK" not in shown


def test_the_table_says_that_a_waived_finding_is_active_and_does_not_call_the_run_clean():
    run = run_of([failed(), replace(failed("web2"), grade=Grade.ACTIVE)], one())
    run.counts["pass"] = 3
    assert "2 findings, 1 active" in text(run)
    assert "Nothing that loses packets" not in text(run)


def test_the_table_says_what_expired():
    shown = " ".join(text(run_of([failed()], one(), date(2028, 1, 1))).split())
    assert "expired after 2027-03-31: 1 finding counts again" in shown
    assert "RISK" in shown


def test_json_keeps_them_whole_apart_from_the_findings():
    document = json.loads(text(run_of([failed(), failed("db1")], one()), "json"))
    assert [f["host"] for f in document["findings"]] == ["db1"]
    assert document["waived"][0]["host"] == "web1"
    assert document["waived"][0]["waiver"] == {"reason": "one way in", "expires": "2027-03-31", "place": "site.toml"}
    assert document["counts"]["waived"] == 1


def test_a_waived_finding_fails_no_run():
    from hostaudit.commands.run import exit_code

    assert exit_code(run_of([failed()], one()), "low") == 0
    assert exit_code(run_of([failed()], one(), date(2028, 1, 1)), "low") == 8
    assert exit_code(replace(run_of([failed("db1")], one())), "low") == 8
