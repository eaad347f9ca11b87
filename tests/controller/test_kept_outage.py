"""The outage as four hosts of the lab answered it while odd ports failed (docs/outage.answers.json): judged offline."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hostaudit.archive import load
from hostaudit.audit import Request, judged
from hostaudit.model import Grade, Status

CHECK = "conntrack-invalid-drop"
ANSWERS = Path(__file__).parents[2] / "docs/outage.answers.json"


@pytest.fixture(scope="module")
def failures():
    answers, _ = load(ANSWERS)
    run = judged(answers, Request(), datetime(2026, 1, 1, tzinfo=UTC))
    return {(f.host, f.check): f for f in run.findings if f.status is Status.FAIL}


def test_the_hypervisor_that_drops_is_named_with_its_counter(failures):
    assert failures["h2", CHECK].grade is Grade.ACTIVE
    assert failures["h2", CHECK].evidence["rules"][0]["delta"] == 72


def test_the_other_one_is_a_risk_and_both_name_the_handshakes_that_prove_it(failures):
    assert failures["h1", CHECK].grade is Grade.RISK
    for host in ("h1", "h2"):
        (pair,) = failures[host, CHECK].evidence["shown"]
        assert (pair["dropped_by"], pair["waiting_on"]) == ("h2", "h1")
        assert "10.0.0.10:40001>10.0.0.100:8080" in pair["handshakes"]


def test_what_belongs_to_it_is_told_and_nothing_else(failures):
    others = {("h2", "asymmetric-path"), ("w2", "tcp-retransmit-high")}
    assert set(failures) == {("h1", CHECK), ("h2", CHECK), *others}
