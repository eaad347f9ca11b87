"""The clock jumps by hours while a change waits for its confirmation: the undo comes in time, and not before."""

import datetime as dt
import json
import re
import time
from pathlib import Path

import pytest
from labkit import hosts
from labkit.plans import Done, hostaudit

from vm.changes import PATIENT, log, plan, source

KEY = "net.core.somaxconn"
ARMED = 90
"""Seconds; long against what a jump would make of it, and against the load of the machine."""
GUARD = Path(__file__).parents[3] / "playbooks/roles/guard"


def guard(name: str, *words: object) -> str:
    """Call the guard as its role does: the program goes along in the environment."""
    parts = re.findall(r"file', '(\w+[.]sh)'", (GUARD / "vars/main.yml").read_text())
    text = "\n".join((GUARD / "files" / part).read_text() for part in parts)
    called = f'eval "$HOSTAUDIT_GUARD"\' guard {" ".join(map(str, words))}'
    return hosts.run(name, "sh", "-ec", f'export HOSTAUDIT_GUARD="$(cat)"; sh -c \'{called}', input=text)


def jump(name: str, hours: int) -> None:
    """Move the machine's clock, as a bad time server does; its monotonic time goes on as it was."""
    hosts.script(name, f"date -s @$(($(date +%s) + {hours * 3600})) >/dev/null")


def uptime(name: str) -> float:
    return float(hosts.run(name, "cat", "/proc/uptime").split()[0])


@pytest.fixture
def name(machines: list[str], request: pytest.FixtureRequest) -> str:
    chosen = machines[request.param]
    hosts.script(chosen, f"sysctl -qw {KEY}=4096")
    return chosen


@pytest.mark.parametrize(("name", "hours"), [(0, 5), (1, -5)], indirect=["name"])
def test_the_undo_comes_in_time_and_not_early(name: str, hours: int) -> None:
    change = f"clock{hours}".replace("-", "m")
    began = uptime(name)
    guard(name, "arm", change, ARMED, f"'value /proc/sys/{KEY.replace('.', '/')}'")
    armed = uptime(name)  # the timer started between the two
    hosts.script(name, f"sysctl -qw {KEY}=777")
    jump(name, hours)
    try:
        last = armed
        while hosts.run(name, "sysctl", "-n", KEY).strip() == "777":
            last = uptime(name)
            assert last < armed + ARMED + 120, "the undo does not come"
            time.sleep(0.5)
        reverted = uptime(name)
        assert reverted - began >= ARMED, "not before its time"
        assert last - armed < ARMED + 60, "nor long after it"
        hosts.wait(lambda: bool(log(name)) and log(name)[-1]["change"] == change, 60, "no line in the log")
        entry = log(name)[-1]
        assert (entry["event"], entry["reason"]) == ("reverted", f"not confirmed within {ARMED} s")
        at = dt.datetime.strptime(entry["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
        there = int(hosts.run(name, "date", "+%s"))
        assert abs(at.timestamp() - there) < 600, "the host's log has the host's time"
    finally:
        jump(name, -hours)
    guard(name, "revert", change)  # ends the watch: nobody is at work any more


@pytest.mark.parametrize(("name", "hours"), [(0, -7), (1, 7)], indirect=["name"])
def test_a_jump_while_a_change_runs_does_not_disturb_it(name: str, hours: int, tmp_path: Path) -> None:
    """The clock jumps right after arming: certificates of time are not what the controller or the host go by."""
    inventory = source(tmp_path, [name])
    made = plan(tmp_path / "plan.json", inventory, {"tcp_backlog": {"tcp_backlog_somaxconn": 500}})
    watcher = (
        "nohup sh -c 'until ls -d /var/lib/hostaudit/guard/*/guard >/dev/null 2>&1; do sleep 0.2; done; "
        f"date -s @$(($(date +%s) + {hours * 3600})); touch /run/jumped' >/dev/null 2>&1 &"
    )
    hosts.script(name, f"rm -f /run/jumped; {watcher}")
    try:
        done = hostaudit(tmp_path / "j.db", "apply", made, "-i", inventory, "--format", "json", *PATIENT, limit=1500)
        hosts.script(name, "test -e /run/jumped")
    finally:
        jump(name, -hours)
    assert (done.code, done.states) == (0, {name: "confirmed"}), done.stderr
    assert hosts.run(name, "sysctl", "-n", KEY).strip() == "500"
    entries = [json.loads(line) for line in journal_lines(tmp_path)]
    times = [entry["time"] for entry in entries]
    assert times == sorted(times), "the journal has the controller's time"
    assert hostaudit(tmp_path / "j.db", "log", "verify").stdout.startswith("sound: ")
    back: Done = hostaudit(tmp_path / "j.db", "rollback", done.change, "-i", inventory, *PATIENT[:2], limit=1500)
    assert back.code == 0, back.stderr
    assert hosts.run(name, "sysctl", "-n", KEY).strip() == "4096"


def journal_lines(here: Path) -> list[str]:
    return hostaudit(here / "j.db", "log", "--format", "json").stdout.splitlines()


def test_a_power_cut_before_the_confirmation_undoes(machines: list[str]) -> None:
    """Not a reboot: what was not on the disk when the power went is lost. The guard's own files are."""
    from vm.changes import reboot

    name = machines[0]
    dropin = "/etc/sysctl.d/zz-power.conf"
    guard(name, "arm", "power", 3000, f"'file {dropin}'", f"'value /proc/sys/{KEY.replace('.', '/')}'")
    hosts.script(name, f"echo {KEY}=888 >{dropin}; sync; sysctl -qw {KEY}=888")
    reboot(name, how="power")
    hosts.wait(lambda: bool(log(name)) and log(name)[-1]["change"] == "power", 120, "no line in the log")
    assert (log(name)[-1]["event"], log(name)[-1]["reason"]) == ("reverted", "rebooted before it was confirmed")
    found = hosts.script(name, f"ls {dropin} 2>/dev/null || :; sysctl -n {KEY}").split()
    assert found == ["4096"]
    # nobody is at it any more: said as the guard asks for, so that the next change is not refused
    hosts.script(name, "sh /var/lib/hostaudit/guard/power.reverted/guard revert power")
    assert hosts.script(name, "ls /var/lib/hostaudit/guard 2>/dev/null || :").split() == []
