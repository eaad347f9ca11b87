"""What a report costs grows with the fleet, not with its square; counted in calls, as a busy machine has no clock."""

import io

import pytest

from hostaudit import report
from hostaudit.causes import causes
from hostaudit.evaluate import counts
from hostaudit.model import Finding, Grade, HostReport, Run, Severity, Status

CAUSE, SYMPTOM = "conntrack-invalid-drop", "asymmetric-path"


def fleet(number):
    """Return a run in which each host has a cause of its own, with a symptom, and two checks that say nothing."""
    findings = []
    for name in (f"node{n:04}" for n in range(number)):
        failed = {"host": name, "severity": Severity.HIGH, "evidence": {"packets": len(findings)}}
        findings += [
            Finding(Status.FAIL, f"dropped on {name}", Grade.ACTIVE, check=CAUSE, **failed),
            Finding(Status.FAIL, f"two ways to {name}", Grade.RISK, check=SYMPTOM, **failed),
            Finding(Status.PASS, "", check="conntrack-table-full", host=name),
            Finding(Status.UNKNOWN, "not read", check="mtu-mismatch", host=name),
        ]
    hosts = tuple(HostReport(f"node{n:04}", "ok", "", "6.12", "Debian 12", 1.0) for n in range(number))
    moment = "2026-03-05T04:00:00Z"
    tally = {**counts(findings), "waived": 0}
    return Run("20260305T040000Z-5f2c1e", moment, moment, "0", hosts, tuple(findings), tally, causes=causes(findings))


@pytest.mark.parametrize("name", report.formats())
def test_twice_the_hosts_are_twice_the_work(work, name):
    spent = []
    for run in [fleet(number) for number in (5, 60, 120)]:  # the first one imports and compiles
        work.calls = 0
        with work.counted():
            report.render(name, run, io.StringIO(), report.Style())
        spent.append(work.calls)
    assert spent[2] < 2.2 * spent[1], spent


def test_so_do_causes(work):
    spent = []
    for number in (5, 100, 200):
        findings = fleet(number).findings
        work.calls = 0
        with work.counted():
            found = causes(findings)
        spent.append(work.calls)
        assert [(len(one.symptoms), one.symptoms[0].host) for one in found] == [
            (1, f"node{n:04}") for n in range(number)
        ]
    assert spent[2] < 2.2 * spent[1], spent
