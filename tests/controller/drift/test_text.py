"""What drift prints: fit for a mail, and commands that can be pasted whatever a host calls its interfaces."""

import json
import shlex

import pytest

from hostaudit.drift.model import Against, By, Drift, Kind, Line, Since, Who
from hostaudit.drift.text import LONGEST, accept, summary, text
from hostaudit.model import Remedy

KEY = "net.core.somaxconn"
PATH = f"sysctl.knobs.{KEY}.running"
SINCE = Since("2026-11-22T06:00:01Z", "20261122T060001Z-90b1d2", "2026-11-21T06:00:01Z", "5000")


def line(host="web3", path=PATH, **more):
    values = {
        "now": "4096",
        "against": (Against(Kind.CONFIGURED, "5000", "/etc/sysctl.d/9.conf:3"), Against(Kind.LAST, "5000", "run 1")),
        "since": SINCE,
        "who": Who(By.DAEMON, "process 812 names it, and runs", ("process 812 names it", "alice logged in")),
        "back": Remedy("sysctl", {"sysctl_running": {KEY: 5000}}),
    }
    return Line(host, path, **{**values, **more})


def commands(said):
    return [one.partition(": ")[2].strip() for one in said.splitlines() if one.startswith(("  back:", "  accept:"))]


@pytest.mark.parametrize("width", [80, 100])
def test_a_paragraph_fits_its_width_and_a_command_is_one_line(width):
    said = text([line(f"web{n:02}") for n in range(20)], width)
    assert max(map(len, (one for one in said.splitlines() if not one.startswith(("  back", "  accept"))))) <= width
    play, taken = map(shlex.split, commands(said))
    names = ",".join(f"web{n:02}" for n in range(20))
    assert play[:5] == ["ansible-playbook", "-i", "INVENTORY", "playbooks/remediate.yml", "-l"]
    assert (play[5], json.loads(play[7])) == (
        names,
        {"hostaudit_roles": ["sysctl"], "sysctl_running": {KEY: 5000}},
    )
    assert taken == ["hostaudit", "baseline", "accept", "-l", names, "--only", KEY]
    assert "5000 as configured (/etc/sysctl.d/9.conf:3); 5000 in the last run (run 1)" in " ".join(said.split())
    assert said.count("process 812 names it") == 1, "what is said already is no further evidence"


def test_a_thousand_hosts_make_no_line_that_a_mail_breaks():
    said = text([line(f"node{n:04}.example.net") for n in range(1000)])
    assert max(map(len, said.splitlines())) < LONGEST + 100
    assert "NAMES: these 1000 hosts" in said


@pytest.mark.parametrize("name", ["a';reboot;'", "$(reboot)", "`reboot`", 'x"; reboot #'])
def test_what_a_host_names_is_one_word_of_a_command(name):
    path = f"link.links[{name}].mtu"
    one = line("web 3;id", path, back=Remedy("link_mtu", {"link_mtu_links": {name: 1500}}))
    assert shlex.split(accept(one))[-3:] == ["web 3;id", "--only", path]
    play, taken = map(shlex.split, commands(text([one])))
    assert json.loads(play[-1])["link_mtu_links"] == {name: 1500}
    assert taken[-1] == path


def test_what_is_back_is_told_as_such_and_asks_for_nothing():
    said = text([line(now="5000", against=(Against(Kind.LAST, "4096", "run 1"),), returned=True, back=None)])
    assert "is 5000 (as it was before it drifted)\n  was:    4096 in the last run (run 1)\n" in said
    assert commands(said) == []


def test_a_terminal_is_told_what_is_not_told_again():
    lines = (line(), line("web4", new=False), line("web5", "host.answers", against=(Against(Kind.UNREAD, ""),)))
    drift = Drift("1", "2026-11-22T06:00:01Z", lines, 5)
    assert summary(drift, drift.told) == (
        "5 hosts: 2 facts drifted; 1 not readable; 1 told before (--all tells them again)"
    )
    assert summary(Drift("1", "", (), 1), ()) == "1 host: no facts drifted"
