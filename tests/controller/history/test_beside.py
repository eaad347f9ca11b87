"""What the history puts beside a run: the counter that goes flat, and the change that did it, in one picture."""

from datetime import timedelta

import pytest
from tests.controller.history.conftest import RECORDED

from hostaudit.archive import load
from hostaudit.audit import Request, judged
from hostaudit.commands import beside
from hostaudit.commands.auditing import Audited
from hostaudit.commands.storing import stored
from hostaudit.drift.made import Made
from hostaudit.history import History
from hostaudit.journal import Journal
from hostaudit.report.page.context import Event

CHECK = "conntrack-invalid-drop"
START = "2026-11-01T12:00:00Z"


@pytest.fixture
def cured(tmp_path):
    """Return the context of the run after the cure: two runs in which h2 drops, one that could not count, two after."""
    url = f"sqlite:///{tmp_path}/j.db"
    answers, started = load(RECORDED)
    with History.open(url) as history:
        for hours in range(5):
            for answer in answers:
                rules = answer.snapshot.firewall.invalid
                if hours == 2:
                    for rule in rules:
                        rule.delta = None
                if hours == 3:
                    rules.clear()
            run = judged(answers, Request(only=(CHECK,)), started + timedelta(hours=hours))
            last = stored(history, Audited(run, answers), "run")
        with Journal.open(url, readonly=True) as journal:
            yield lambda: beside.of_history(history, journal, last, history.read.run(last))


def test_the_counter_goes_flat_beside_the_change(cured, monkeypatch):
    change = "20261121T120000Z-ab12"
    ours = [
        Made(change, "apply", START, START, host, "host.fw nf_conntrack_allow_invalid", "1", "alex@admin1", "OPS-7")
        for host in ("h1", "h2")
    ]
    monkeypatch.setattr("hostaudit.history.changes.made", lambda *_: {one.host: [one] for one in ours})
    context = cured()
    (h2,) = (one for one in context.series if (one.host, one.name) == ("h2", "INVALID dropped"))
    first, *others = [point.value for point in h2.points]
    assert first > 1
    assert others == [first, None, 0, 0], "what was not counted is a gap, and no rule drops nothing"
    what = "host.fw nf_conntrack_allow_invalid -> 1"
    assert context.events == (Event(START, what, "change", ("h1", "h2"), "alex@admin1, OPS-7", change),)


def test_nothing_fails_and_nothing_was_changed(cured):
    assert not cured().events
