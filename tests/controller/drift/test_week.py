"""A month in seconds: 30 stored runs of 20 hosts, with every cause; each is attributed rightly and told once."""

from dataclasses import replace

import pytest

from hostaudit.commands import drifting
from hostaudit.commands.storing import stored
from hostaudit.drift.baseline import Baseline
from hostaudit.drift.made import Made
from hostaudit.drift.model import Kind
from hostaudit.drift.settings import Settings
from hostaudit.history import History
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Assignment, FileTrace, Login, Mention, Owner, PackageEvent, Traces

SOMAX, FIN, RETRIES, KEEPALIVE = (
    "net.core.somaxconn",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_keepalive_time",
)
DROPIN = "/etc/sysctl.d/zz-hostaudit.conf"


def running(key):
    return f"sysctl.knobs.{key}.running"


class Month:
    """Runs drift once a day, and keeps what it told: (day, host, path) -> line."""

    def __init__(self, fleet, history):
        self.fleet, self.history = fleet, history
        self.made, self.traces, self.told, self.asked = {}, {}, {}, []
        self.baseline = Baseline()

    def traced(self, questions):
        self.asked += [name for name, _ in questions]
        return {name: (self.traces.get(name), []) for name, _ in questions}

    def day(self, silent=()):
        done = self.fleet.day(silent=silent)
        now = stored(self.history, done, "drift")
        asked = drifting.Asked(Policy(), Settings(), self.baseline, "", self.traced)
        drift = drifting.found(done, self.history, now, self.made, asked)
        for line in drift.told:
            self.told[self.fleet.days, line.host, line.path] = line
        seen = [a.host.name for a in done.answers]
        self.history.tell(now.number, seen, seen, [replace(one, new=False) for one in drift.lines if not one.returned])
        return drift

    def moment(self):
        """Return Unix time a moment before the next run."""
        return (self.fleet.hosts["web01"].taken or 0) + 86400 - 600

    def time(self, offset=0):
        from hostaudit.drift.cause import stamp

        return stamp(self.moment() + offset)


@pytest.fixture
def month(fleet, tmp_path):
    with History.open(f"sqlite:///{tmp_path}/j.db") as history:
        yield Month(fleet, history)


def test_a_month_of_changes_each_with_its_cause_and_told_once(month):  # noqa: PLR0915 - one story
    fleet = month.fleet
    assert month.day().lines == (), "twenty hosts that are alike, and nothing before"
    expected = {}
    for day in range(2, 31):
        if day == 3:  # by hand, on one host
            fleet.knob("web03", FIN).running = "33"
            month.traces["web03"] = Traces(0.0, logins=[Login(month.moment(), "alice", "pts/0", "192.0.2.7")])
            expected[3, "web03", running(FIN)] = "change-unrecorded"
        if day == 6:  # by hostaudit, on all
            for name in fleet.hosts:
                knob = fleet.knob(name, SOMAX)
                knob.running, knob.configured = "5000", Assignment("5000", DROPIN, 3)
                made = Made("C-1", "apply", month.time(), month.time(20), name, SOMAX, "5000", "bob@admin", "OPS-7")
                month.made[name] = [made]
                expected[6, name, running(SOMAX)] = expected[6, name, f"sysctl.knobs.{SOMAX}.configured"] = "change"
        if day == 9:  # a script takes it back on one of them
            fleet.knob("web05", SOMAX).running = "4096"
            month.traces["web05"] = Traces(0.0, mentions=[Mention(SOMAX, "/usr/local/sbin/rival", 2, process="812 sh")])
            expected[9, "web05", running(SOMAX)] = "daemon"
        if day == 12:  # set by hand, and lost with a reboot on day 15
            fleet.knob("web07", KEEPALIVE).running = "555"
            expected[12, "web07", running(KEEPALIVE)] = "change-unrecorded"
        if day == 15:
            fleet.knob("web07", KEEPALIVE).running = "7200"
            fleet.hosts["web07"].platform.boot_id = "boot 2"
            fleet.hosts["web07"].platform.booted = month.moment()
            expected[15, "web07", running(KEEPALIVE)] = "reboot"
        if day == 18:  # a package brings a file, and its script applies it
            file = "/etc/sysctl.d/50-lab.conf"
            fleet.knob("web09", RETRIES).configured = Assignment("8", file, 1)
            month.traces["web09"] = Traces(
                0.0,
                files=[FileTrace(file, True, month.moment(), "root", "lab-tuning")],
                packages=[PackageEvent(month.moment(), "install", "lab-tuning:all", "1.2")],
            )
            expected[18, "web09", f"sysctl.knobs.{RETRIES}.configured"] = "package"
            expected[18, "web09", running(RETRIES)] = "unknown"
        if day == 21:  # a known owner appears, and writes its value
            for name in ("web11",):
                fleet.hosts[name].platform.owners = [Owner("tuned", "process 9 (tuned)")]
            expected[21, "web11", "platform.owners[tuned]"] = "change-unrecorded"
        if day == 24:  # a rule is gone from one host after a boot
            fleet.hosts["web13"].platform.boot_id = "boot 2"
            fleet.hosts["web13"].platform.booted = month.moment()
            for link in fleet.hosts["web13"].link.links[1:2]:
                link.mtu = 1400
                expected[24, "web13", f"link.links[{link.name}].mtu"] = "change-unrecorded"
        if day == 27:  # put back by hand
            fleet.knob("web03", FIN).running = "60"
            expected[27, "web03", running(FIN)] = "change-unrecorded"
        drift = month.day(silent=("web20",) if day in (6, 7) else ())
        if day == 6:
            for path in (running(SOMAX), f"sysctl.knobs.{SOMAX}.configured"):
                expected[8, "web20", path] = expected.pop((6, "web20", path))
        if day == 27:
            assert all(line.returned for line in drift.told)
    assert {where: line.who.by.value for where, line in month.told.items()} == expected

    hand = month.told[3, "web03", running(FIN)]
    assert [a.kind for a in hand.against] == [Kind.COHORT, Kind.LAST]
    assert any("alice logged in" in one for one in hand.who.evidence)
    assert (hand.since.first[8:10], hand.since.after[8:10], hand.since.was) == ("04", "03", "60")
    ours = month.told[6, "web01", running(SOMAX)]
    assert "C-1 by bob@admin" in ours.who.said
    assert ours.back_how == "hostaudit rollback C-1"
    daemon = month.told[9, "web05", running(SOMAX)]
    assert "taken back" in daemon.who.said
    assert "812 sh" in daemon.who.said
    assert daemon.back is not None
    assert daemon.back.vars == {"sysctl_running": {SOMAX: 5000}}, "the file has it: only what runs is to be set"
    assert "web01" not in month.asked, "what the journal explains, no host is asked about"


def test_what_moves_by_itself_is_no_drift(month):
    month.day()
    for day in range(3):
        for name, snapshot in month.fleet.hosts.items():
            snapshot.conntrack.count = 100 + day
            snapshot.firewall.backends = dict.fromkeys(snapshot.firewall.backends, 7 + day)
            snapshot.link.links[-1].index += 1
            snapshot.platform.owners = [Owner("docker", f"process {day}{len(name)}")]
        drift = month.day()
    assert drift.lines == ()


def test_a_value_that_comes_back_drifts_anew_and_is_told_anew(month):
    month.day()
    for _ in range(2):
        month.fleet.knob("web03", FIN).running = "33"
        month.day()
        month.fleet.knob("web03", FIN).running = "60"
        month.day()
    assert sorted(day for day, _, _ in month.told) == [2, 3, 4, 5]


def test_what_was_not_read_is_told_once_and_is_never_a_change(month):
    from hostaudit_agent.snapshot import Unread

    month.day()
    month.fleet.hosts["web04"].unread = [Unread("firewall", "needs CAP_NET_ADMIN")]
    month.fleet.hosts["web04"].firewall = None
    month.day()
    assert month.day().told == ()
    ((_, host, path),) = month.told
    assert (host, path) == ("web04", "host.reads firewall")
