"""Beats and schedules: what is regular is told, what only looks so is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit.checks import _beats
from hostaudit_agent.snapshot import Job


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("* * * * *", 60),
        ("*/5 * * * *", 300),
        ("0,30 * * * *", 1800),
        ("17 * * * *", 3600),
        ("*/7 * * * *", None),
        ("*/5 3 * * *", None),
        ("0,20 * * * *", None),
        ("@hourly", 3600),
        ("@daily", None),
        ("OnCalendar=minutely", 60),
        ("OnCalendar=hourly", 3600),
        ("OnCalendar=*:0/5", 300),
        ("OnCalendar=*:*:0/30", 30),
        ("OnCalendar=*-*-* *:00/10:00", 600),
        ("OnCalendar=Sun *-*-* 03:10:00", None),
        ("OnUnitActiveSec=30s", 30),
        ("OnUnitActiveSec=1min 30s", 90),
        ("OnUnitActiveSec=soon", None),
        ("*/15", 900),
        ("21:00", None),
    ],
)
def test_the_period_of_a_schedule(schedule, seconds):
    assert _beats.every(schedule) == seconds


@given(
    period=st.integers(20, 70),
    first=st.integers(0, 19),
    jitter=st.lists(st.sampled_from([0, 0, 1]), min_size=20, max_size=20),
)
def test_every_regular_burst_is_a_beat(period, first, jitter):
    values = [0] * 300
    for number, start in enumerate(range(first, 299, period)):
        values[start + jitter[number]] = 50
    found = _beats.beat(values, 10, 10, 18, 4)
    assert found is not None
    assert found.period == pytest.approx(period, abs=1)
    assert found.ratio == 50


@given(starts=st.lists(st.integers(0, 599), min_size=6, max_size=12, unique=True))
def test_a_beat_is_always_locked_to_one_phase(starts):
    values = [0] * 600
    for start in starts:
        values[start] = 50
    found = _beats.beat(values, 10, 10, 20, 4)
    if found is not None:
        off = [(start - found.starts[0] + _beats.LOOSE) % found.period for start in found.starts]
        assert max(off) <= 2 * _beats.LOOSE + 1e-6


def test_bursts_that_follow_each_other_are_one():
    assert _beats.bursts([0, 0, 50, 60, 0, 40, 0, 0, 0, 30], 10, 10) == [(2, 60), (9, 30)]
    assert _beats.bursts([], 10, 10) == []


def test_a_beat_may_miss_one_in_five():
    values = [0] * 300
    for start in (0, 30, 60, 120, 150, 180, 210, 240, 270):
        values[start] = 50
    found = _beats.beat(values, 10, 10, 20, 4)
    assert found is not None
    assert found.period == 30


def test_jobs_of_that_period_only():
    made = [Job("a", "* * * * *", "/a"), Job("b", "*/5 * * * *", "/b"), Job("c", "@reboot", "/c")]
    assert [job.name for job in _beats.jobs(made, 60.4)] == ["a"]
