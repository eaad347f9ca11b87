"""What a node remembers of who changed a knob; the files as Debian has them, below a root of the test's own."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from hostaudit_agent.root import Root
from hostaudit_agent.traces import take
from hostaudit_agent.traces.logins import SHORT

KEY = "net.core.somaxconn"


def write(top: Path, path: str, content: str | bytes, when: float | None = None) -> None:
    file = top / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    if when is not None:
        os.utime(file, (when, when))


def record(kind: int, line: bytes, user: bytes, host: bytes, when: int) -> bytes:
    return SHORT.pack(kind, 1, line, b"", user, host, 0, 0, 0, when, 0, 0, 0, 0, 0)


def test_everything_is_found_that_speaks_of_the_time(tmp_path):
    now = int(time.time())
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    write(tmp_path, "etc/sysctl.d/50-lab.conf", f"{KEY}=1\n")
    write(tmp_path, "var/lib/dpkg/info/lab-tuning.list", "/.\n/etc\n/etc/sysctl.d/50-lab.conf\n")
    write(
        tmp_path,
        "var/log/dpkg.log",
        f"2020-01-01 00:00:00 install old:all <none> 1\n{stamp} install lab-tuning:all <none> 1.2\n",
    )
    write(tmp_path, "var/log/wtmp", b"".join((
        record(7, b"pts/0", b"alice", b"192.0.2.7", now),
        record(8, b"pts/0", b"alice", b"192.0.2.7", now),
        record(7, b"pts/1", b"bob", b"", now - 90000),
    )))  # fmt: skip
    iso = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now))
    write(tmp_path, "var/log/auth.log", (
        f"{iso} web sudo:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/sbin/sysctl -w {KEY}=1\n"
        f"{iso} web sudo: pam_unix(sudo:session): session opened for user root\n"
        f"{iso} web sudo: ops : PWD=/ ; COMMAND=/bin/sh -c echo hostaudit-abc ready\n"
    ))  # fmt: skip
    write(tmp_path, "usr/local/sbin/rival", f"#!/bin/sh\nsysctl -w {KEY}=4096\n")
    write(tmp_path, "etc/cron.d/rival", "* * * * * root echo 1 >/proc/sys/net/core/somaxconn\n")
    write(tmp_path, "proc/812/cmdline", b"/bin/sh\0/usr/local/sbin/rival\0")
    write(tmp_path, "proc/812/comm", "rival\n")
    asked = {"since": now - 3600, "files": ["/etc/sysctl.d/50-lab.conf", "/etc/sysctl.d/gone.conf"], "words": [KEY]}
    snapshot = take(asked, Root(str(tmp_path)))
    assert snapshot.unread == []
    found = snapshot.traces
    files = {one.path: one for one in found.files}
    assert (files["/etc/sysctl.d/50-lab.conf"].package, files["/etc/sysctl.d/50-lab.conf"].there) == (
        "lab-tuning",
        True,
    )
    assert not files["/etc/sysctl.d/gone.conf"].there
    assert [(e.package, e.action, e.version, e.time) for e in found.packages] == [
        ("lab-tuning:all", "install", "1.2", now)
    ]
    assert [(one.user, one.terminal, one.source) for one in found.logins] == [("alice", "pts/0", "192.0.2.7")]
    assert [(one.program, one.time) for one in found.commands] == [("sudo", now)]
    assert KEY in found.commands[0].text
    assert [(m.file, m.line, m.process, m.job) for m in found.mentions] == [
        ("/usr/local/sbin/rival", 2, "812 rival", False),
        ("/etc/cron.d/rival", 1, "", True),
    ]


def test_what_is_not_there_is_said(tmp_path):
    snapshot = take({"since": 0, "words": [KEY]}, Root(str(tmp_path)))
    assert {one.surface for one in snapshot.unread} == {"traces.packages", "traces.logins", "traces.commands"}


def test_a_damaged_wtmp_is_no_login(tmp_path):
    write(tmp_path, "var/log/wtmp", struct.pack("100x"))
    unread = {one.surface: one.reason for one in take({"since": 0}, Root(str(tmp_path))).unread}
    assert "another size" in unread["traces.logins"]


WTMPDB = (
    "CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, "
    "Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT"
)
"""As libwtmpdb 0.73 of Debian 13 makes it."""


def test_logins_come_from_wtmpdb_where_a_host_has_that(tmp_path):
    file = tmp_path / "var/lib/wtmpdb/wtmp.db"
    file.parent.mkdir(parents=True)
    now = 1795251094
    rows = [
        (1, "reboot", now, None, "~", "6.12.0", None),
        (3, "alice", now + 60, now + 90, "pts/0", "192.0.2.7", "sshd"),
        (3, "bob", now - 9000, None, "pts/1", "", "sshd"),
        (3, "carol", now + 120, None, "tty1", None, "login"),
        (3, "cron", now + 180, None, "cron", None, "crond"),
    ]
    with closing(sqlite3.connect(file)) as database:
        database.execute(WTMPDB)
        for kind, user, begun, ended, *where in rows:
            times = (begun * 1_000_000 + 250_000, ended and ended * 1_000_000)
            values = (
                "INSERT INTO wtmp(Type, User, Login, Logout, TTY, RemoteHost, Service) VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            database.execute(values, (kind, user, *times, *where))
        database.commit()
    before = file.read_bytes()
    found = take({"since": now}, Root(str(tmp_path))).traces.logins
    assert [(one.user, one.time, one.terminal, one.source) for one in found] == [
        ("alice", now + 60.25, "pts/0", "192.0.2.7"),
        ("carol", now + 120.25, "tty1", ""),
    ]
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["wtmp.db"]


def test_a_wtmpdb_of_another_form_is_said(tmp_path):
    write(tmp_path, "var/lib/wtmpdb/wtmp.db", "no database")
    unread = {one.surface: one.reason for one in take({"since": 0}, Root(str(tmp_path))).unread}
    assert "/var/lib/wtmpdb/wtmp.db: file is not a database" in unread["traces.logins"]


def test_the_command():
    agent = Path(__file__).parents[2] / "agent"
    command = [sys.executable, "-m", "hostaudit_agent", "traces"]
    done = subprocess.run([*command, "{}"], cwd=agent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["traces"]["since"] == 0.0
    wrong = subprocess.run([*command, "x"], cwd=agent, capture_output=True, text=True, check=False)
    assert (wrong.returncode, "one JSON object" in wrong.stderr) == (2, True)
