"""Recorded hosts, varied by code: what a fleet is over days, without the fleet."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.controller.journal.conftest import address, postgresql  # noqa: F401 - the same databases

from hostaudit.archive import load
from hostaudit.audit import Request, judged
from hostaudit.commands.auditing import Audited
from hostaudit.model import Collected, Host

RECORDED = Path(__file__).parents[3] / "docs/outage.answers.json"
START = datetime(2026, 11, 1, 6, 0, tzinfo=UTC)


class Fleet:
    """Twenty hosts; ``day`` moves what moves by itself, and reads them."""

    def __init__(self, number=20):
        recorded = {a.host.name: a.snapshot for a in load(RECORDED)[0]}
        self.hosts = {f"web{n:02}": copy.deepcopy(recorded["w1"]) for n in range(1, number + 1)}
        for name, snapshot in self.hosts.items():
            snapshot.platform.hostname = name
            snapshot.platform.boot_id = "boot 1"
            snapshot.platform.booted = START.timestamp() - 86400
        self.days = 0

    def knob(self, name, key):
        return self.hosts[name].sysctl.knobs[key]

    def day(self, checks=("sysctl-drift",), silent=()):
        """Return the audit of the next day."""
        self.days += 1
        moment = START + timedelta(days=self.days)
        for n, snapshot in enumerate(self.hosts.values()):
            snapshot.taken = moment.timestamp()
            snapshot.platform.uptime += 86400.0 + n
            snapshot.platform.memory += 4096 * self.days
            for key in list(snapshot.counters.totals)[: 40 + n]:
                snapshot.counters.totals[key] += 17 * self.days + n
        answers = [
            Collected(
                Host(name, ("web",), {"hostaudit_cohort": "web", "hostaudit_password": "x"}), copy.deepcopy(s), 0.5
            )
            for name, s in self.hosts.items()
            if name not in silent
        ]
        run = judged(answers, Request(only=tuple(checks)), moment)
        return Audited(replace(run, finished=run.started), list(answers))


@pytest.fixture
def fleet():
    return Fleet()
