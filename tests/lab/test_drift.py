"""What changed on real hosts, and who did it: by hand, by hostaudit, a daemon, a package, a reboot; each told once."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.faults import KEY, WANTED, Fleet
from labkit.plans import HOSTAUDIT, Done, hostaudit

pytestmark = pytest.mark.long

NAMES = {"b12": "bookworm", "b13": "trixie"}
RUNNING = f"sysctl.knobs.{KEY}.running"


class Told:
    """Runs of `hostaudit drift`, each with what it told."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def __call__(self, *options: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        words = ("drift", "-i", self.fleet.source, "--interval", "0", "-q", "--format", "json", *options)
        done: Done = hostaudit(self.fleet.journal, *words)
        assert done.code in (0, 16), done.stderr
        assert not done.stderr, done.stderr
        return done.code, {(one["host"], one["path"]): one for one in done.document.get("lines", [])}

    def silent(self) -> int:
        """Run it once more: nothing is told twice. Return the exit code."""
        code, lines = self()
        assert lines == {}
        return code


@pytest.fixture
def told(fleet: Fleet) -> Told:
    made = Told(fleet)
    code, first = made()
    assert not any(one["against"][0]["kind"] == "last" for one in first.values()), "there is no earlier run"
    assert made.silent() == code
    return made


def test_a_value_set_by_hand_and_put_back(told: Told) -> None:
    hosts.script("b12", "sysctl -qw net.ipv4.tcp_fin_timeout=33")
    path = "sysctl.knobs.net.ipv4.tcp_fin_timeout.running"
    code, lines = told()
    assert code == 16
    assert list(lines) == [("b12", path)]
    one = lines["b12", path]
    assert (one["now"], one["since"]["was"], one["who"]["by"]) == ("33", "60", "change-unrecorded")
    assert one["since"]["after"] <= one["since"]["first"]
    assert one["back"] == {"role": "sysctl", "vars": {"sysctl_values": {"net.ipv4.tcp_fin_timeout": 60}}}
    told.silent()
    hosts.script("b12", "sysctl -qw net.ipv4.tcp_fin_timeout=60")
    _, lines = told()
    assert list(lines) == [("b12", path)]
    told.silent()


def test_a_login_and_sudo_are_evidence(told: Told) -> None:
    """utmpdump writes the records that login and sshd write; sudo's line is where rsyslog puts it."""
    wtmp = "import struct,time; r=struct.pack('<h2xi32s4s32s256shhiii4i20x',7,1,b'pts/0',b'ts/0',b'alice',b'192.0.2.7'"
    wtmp += ",0,0,0,int(time.time()),0,0,0,0,0); open('/var/log/wtmp','ab').write(r)"
    line = "$(date -Iseconds) b12 sudo:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/sbin/sysctl -w x=1"
    hosts.script(
        "b12", f'python3 -c "{wtmp}"; echo "{line}" >>/var/log/auth.log; sysctl -qw net.ipv4.tcp_fin_timeout=34'
    )
    try:
        _, lines = told()
    finally:
        hosts.script("b12", "rm -f /var/log/auth.log; : >/var/log/wtmp; sysctl -qw net.ipv4.tcp_fin_timeout=60")
    evidence = " | ".join(lines["b12", "sysctl.knobs.net.ipv4.tcp_fin_timeout.running"]["who"]["evidence"])
    assert "alice logged in" in evidence
    assert "on pts/0 from 192.0.2.7" in evidence
    assert "COMMAND=/usr/sbin/sysctl -w x=1" in evidence


def test_a_change_of_ours_and_the_daemon_that_takes_it_back(told: Told) -> None:
    fleet = told.fleet
    done = fleet.apply("--reason", "queues overflow", "--ticket", "OPS-7")
    assert done.code == 0, done.stderr
    _, lines = told()
    mine = {key: one for key, one in lines.items() if KEY in key[1]}
    assert {host for host, _ in mine} == set(NAMES)
    for one in mine.values():
        assert (one["who"]["by"], one["who"]["change"]) == ("change", done.change), one
        assert "queues overflow, OPS-7" in one["who"]["said"]
    told.silent()

    script = f"while :; do sysctl -qw {KEY}=4096; sleep 2; done"
    hosts.script("b13", f"printf '%s\\n' '#!/bin/sh' '{script}' >/usr/local/sbin/rival; chmod +x /usr/local/sbin/rival")
    hosts.script("b13", "systemd-run -q --unit=rival /usr/local/sbin/rival")
    try:
        hosts.wait(lambda: hosts.script("b13", f"sysctl -n {KEY}").strip() == "4096", 20, "the rival does nothing")
        code, lines = told()
    finally:
        hosts.script("b13", "systemctl stop rival; rm -f /usr/local/sbin/rival")
    assert code == 16
    one = lines["b13", RUNNING]
    assert (one["now"], one["who"]["by"], one["who"]["change"]) == ("4096", "daemon", done.change), one
    assert "/usr/local/sbin/rival" in one["who"]["said"]
    kinds = {a["kind"]: a["value"] for a in one["against"]}
    assert kinds == {"configured": str(WANTED), "last": str(WANTED)}
    assert told.silent() == 16, "it runs otherwise than configured, which was told"
    _, again = told("--all")
    assert (again["b13", RUNNING]["new"], again["b13", RUNNING]["who"]) == (False, one["who"])


def test_a_package_that_brings_a_file_and_one_that_takes_it_away(told: Told) -> None:
    control = "Package: lab-tuning\\nVersion: 1.2\\nArchitecture: all\\nMaintainer: lab <a@b>\\nDescription: lab\\n"
    build = (
        f"mkdir -p /tmp/p/DEBIAN /tmp/p/etc/sysctl.d; printf '{control}' >/tmp/p/DEBIAN/control; "
        "echo net.ipv4.tcp_retries2=8 >/tmp/p/etc/sysctl.d/50-lab.conf; dpkg-deb -b /tmp/p /tmp/p.deb >/dev/null; "
        "dpkg -i /tmp/p.deb >/dev/null"
    )
    path = "sysctl.knobs.net.ipv4.tcp_retries2.configured"
    hosts.script("b12", build)
    try:
        _, lines = told()
        one = lines["b12", path]
        assert one["now"] == "8 (/etc/sysctl.d/50-lab.conf)"
        assert one["who"]["by"] == "package", one
        assert "lab-tuning" in one["who"]["said"]
        told.silent()
        hosts.script("b12", "dpkg --purge lab-tuning >/dev/null")
        _, lines = told()
        gone = lines["b12", path]
        assert (gone["now"], gone["who"]["by"]) == ("absent", "package"), gone
        assert "removed /etc/sysctl.d/50-lab.conf" in gone["who"]["said"]
    finally:
        hosts.script("b12", "dpkg --purge lab-tuning >/dev/null 2>&1 || :; rm -rf /tmp/p /tmp/p.deb")


def test_a_reboot_loses_what_only_ran(told: Told) -> None:
    path = "sysctl.knobs.net.ipv4.tcp_keepalive_time.running"
    hosts.script("b12", "sysctl -qw net.ipv4.tcp_keepalive_time=555")
    _, lines = told()
    assert lines["b12", path]["who"]["by"] == "change-unrecorded"
    before = hosts.leader("b12")
    hosts.script("b12", "systemctl reboot --no-block")

    def back() -> bool:
        try:
            return (
                hosts.leader("b12") != before
                and hosts.script("b12", "sysctl -n net.ipv4.tcp_keepalive_time") != "555\n"
            )
        except hosts.LabError:
            return False

    hosts.wait(back, 60, "b12 did not reboot")
    hosts.ready("b12")
    code, lines = told()
    assert code == 16
    one = lines["b12", path]
    assert (one["now"], one["since"]["was"], one["who"]["by"]) == ("7200", "555", "reboot"), one
    assert "555 ran and was configured nowhere" in one["who"]["said"]
    told.silent()


def test_the_baseline_is_accepted_reviewed_and_told_against(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "baseline.toml"
    fleet = told.fleet
    accept = ("baseline", "accept", "--baseline", file)
    assert hostaudit(fleet.journal, *accept).code == 0
    first = file.read_bytes()
    assert hostaudit(fleet.journal, *accept).code == 0
    assert file.read_bytes() == first, "the same facts are the same bytes"
    hosts.script("b13", "sysctl -qw net.ipv4.tcp_fin_timeout=44")
    path = "sysctl.knobs.net.ipv4.tcp_fin_timeout.running"
    try:
        code, lines = told("--baseline", str(file))
        assert code == 16
        assert [a["kind"] for a in lines["b13", path]["against"]] == ["baseline", "last"]
        known, lines = told("--baseline", str(file))
        assert (known, lines) == (16, {}), "it still differs from the baseline, and was told"
        line = lines_of(hostaudit(fleet.journal, *accept, "-l", "b13", "--only", "net.ipv4.tcp_fin_timeout"))
        assert line == ["  b13: sysctl.knobs.net.ipv4.tcp_fin_timeout.running: 60 -> 44"]
        added = set(file.read_text().splitlines()) - set(first.decode().splitlines())
        assert any("tcp_fin_timeout" in one and "44" in one for one in added)
        assert told("--baseline", str(file)) == (0, {})
    finally:
        hosts.script("b13", "sysctl -qw net.ipv4.tcp_fin_timeout=60")


def lines_of(done: Done) -> list[str]:
    assert done.code == 0, done.stderr
    return done.stdout.splitlines()[1:]


def test_cron_mails_only_news(told: Told) -> None:
    """No PATH, no HOME, no TERM: the store is found all the same, and nothing is said where nothing is new."""
    words = [str(HOSTAUDIT), "drift", "-i", str(told.fleet.source), "--interval", "0", "-q"]
    environment = {"HOSTAUDIT_JOURNAL": f"sqlite:///{told.fleet.journal}", "PATH": ""}

    def cron() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, check=False, capture_output=True, text=True, env=environment, cwd="/", timeout=120)

    assert (cron().stdout, cron().stderr) == ("", "")
    hosts.script("b12", "sysctl -qw net.ipv4.tcp_fin_timeout=35")
    try:
        mailed = cron()
    finally:
        hosts.script("b12", "sysctl -qw net.ipv4.tcp_fin_timeout=60")
    assert mailed.returncode == 16
    assert mailed.stdout.startswith("b12: net.ipv4.tcp_fin_timeout is 35\n"), mailed.stdout
    assert mailed.stderr == ""


def test_a_host_that_does_not_answer_is_told_once(told: Told) -> None:
    hosts.script("b13", "systemctl stop ssh.socket ssh 2>/dev/null || systemctl stop ssh")
    words = ("drift", "-i", told.fleet.source, "--interval", "0", "-q", "--timeout", "3", "--format", "json")
    try:
        first, second = (hostaudit(told.fleet.journal, *words) for _ in range(2))
    finally:
        hosts.script("b13", "systemctl start ssh")
    assert first.code & 4
    assert [one["host"] for one in json.loads(first.stdout)["lines"]] == ["b13"]
    assert second.code & 4
    assert second.stdout == "", second.stdout
