"""The series of readings, and the jobs of a host."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent import jobs, series
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo: 1000      1    0    0    0     0          0         0     1000       1    0    0    0     0       0
  eth0: 100       2    0    0    0     0          0         0      20        3    0    0    0     0       0
vmbr0:7      2    0    0    0     0          0         0      7        3    0    0    0     0       0
"""


def test_bytes_of_hardware_are_summed_both_ways() -> None:
    assert series.parse_dev(DEV, frozenset({"eth0"})) == 120
    assert series.parse_dev(DEV, frozenset()) == 134, "without hardware: all but loopback"
    assert series.parse_dev(DEV, frozenset({"gone0"})) == 134
    with pytest.raises(ValueError, match="no columns of bytes"):
        series.parse_dev("", frozenset())


@pytest.mark.lab
def test_real_retransmissions_are_in_the_second_in_which_they_were_sent(netns: Callable[[], Any]) -> None:
    space = netns()
    space.ip(
        "link add a0 type veth peer name b0",
        "addr add 192.0.2.1/24 dev a0",
        "link set a0 up",
        "link set b0 up",
        "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev a0",
    )
    with space.entered():
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("192.0.2.9", 9))  # nobody answers: its SYN is sent again after 1 s and after 3 s
        began, spent = time.monotonic(), time.process_time()
        found = series.watch(Root(), 5.0)
        spent = time.process_time() - spent
        s.close()
    assert time.monotonic() - began >= 5
    assert len(found.retransmitted) == len(found.sent) == len(found.octets) == 5
    assert sum(found.retransmitted) >= 2
    assert max(found.retransmitted) <= 1, "never two in one second"
    assert sum(found.octets) >= 2 * 60
    assert spent < 0.1 * 5, "it sleeps, and does not poll"


def test_a_failure_still_takes_the_time(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyError):
        series.watch(Root(str(tmp_path)), 0.3)
    assert time.monotonic() - began >= 0.3


def test_jobs_of_cron_systemd_and_proxmox(tmp_path: Path) -> None:
    files = {
        "etc/crontab": "SHELL=/bin/sh\n# m h\n17 * * * * root cd / && run-parts /etc/cron.hourly\n\n* *\n",
        "etc/cron.d/.hidden": "* * * * * root evil\n",
        "etc/cron.d/backup": "*/5 * * * * root /usr/local/bin/backup --password=secret\n@hourly root sync\n",
        "var/spool/cron/crontabs/app": "0 3 * * * /opt/app/rotate\n",
        "etc/systemd/system/timers.target.wants/s.timer": "[Timer]\nOnCalendar=*:0/5\nOnUnitActiveSec = 30s\nX=1\n",
        "etc/systemd/system/timers.target.wants/not.service": "[Timer]\nOnCalendar=daily\n",
        "etc/pve/jobs.cfg": "vzdump: backup-1\n\tschedule 21:00\n\tstorage local\n\nrealm-sync: x\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = jobs.read(Root(str(tmp_path)))
    assert [(job.name, job.schedule, job.file) for job in found] == [
        ("cd", "17 * * * *", "/etc/crontab"),
        ("backup", "*/5 * * * *", "/etc/cron.d/backup"),
        ("sync", "@hourly", "/etc/cron.d/backup"),
        ("rotate", "0 3 * * *", "/var/spool/cron/crontabs/app"),
        ("s.timer", "OnCalendar=*:0/5", "/etc/systemd/system/timers.target.wants/s.timer"),
        ("s.timer", "OnUnitActiveSec=30s", "/etc/systemd/system/timers.target.wants/s.timer"),
        ("vzdump backup-1", "21:00", "/etc/pve/jobs.cfg"),
    ]
    assert "secret" not in str(found)


def test_jobs_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/crontab").write_text("* * * * * root x\n" * 500)
    assert len(jobs.read(Root(str(tmp_path)))) == jobs.MOST
