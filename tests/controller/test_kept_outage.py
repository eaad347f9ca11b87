"""The outage as four hosts of the lab answered it while odd ports failed (docs/outage.answers.json): judged offline."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hostaudit.archive import load
from hostaudit.audit import Request, judged
from hostaudit.model import Grade, Status

CHECK = "conntrack-invalid-drop"
ANSWERS = Path(__file__).parents[2] / "docs/outage.answers.json"


@pytest.fixture(scope="module")
def run():
    answers, _ = load(ANSWERS)
    return judged(answers, Request(), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def failures(run):
    return {(f.host, f.check): f for f in run.findings if f.status is Status.FAIL}


def test_the_hypervisor_that_drops_is_named_with_its_counter(failures):
    assert failures["h2", CHECK].grade is Grade.ACTIVE
    assert failures["h2", CHECK].evidence["rules"][0]["delta"] > 20


def test_the_other_one_is_a_risk_and_both_name_the_handshakes_that_prove_it(failures):
    assert failures["h1", CHECK].grade is Grade.RISK
    for host in ("h1", "h2"):
        (pair,) = failures[host, CHECK].evidence["shown"]
        assert (pair["dropped_by"], pair["waiting_on"]) == ("h2", "h1")
        assert pair["handshakes"]
        for one in pair["handshakes"]:
            assert re.fullmatch(r"10\.0\.0\.10:\d*[13579]>10\.0\.0\.100:8080", one), "odd ports take the other way"


def test_what_belongs_to_it_is_told_and_nothing_else(failures):
    assert set(failures) == {("h1", CHECK), ("h2", CHECK), ("w2", "tcp-retransmit-high")}


def test_every_check_has_what_it_reads(run):
    """The record is older than a check that does not know: make it anew with tools/recording.py."""
    assert [f.check for f in run.findings if f.status is Status.UNKNOWN] == []
