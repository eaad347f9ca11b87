"""Other ways in than root: what an ordinary user can read, and sudo with and without a password."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts, inventory
from labkit.audit import run_hostaudit
from labkit.hosts import Spec
from labkit.settings import LAB

from hostaudit_agent.snapshot import SURFACES

PASSWORD = "correct horse"
USERS = """\
for user in reader wheel admin; do
  useradd --create-home --shell /bin/sh $user
  echo "$user:correct horse" | chpasswd
  install -d -m 700 -o $user /home/$user/.ssh
  install -m 600 -o $user /root/.ssh/authorized_keys /home/$user/.ssh/
done
echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/lab
echo 'wheel ALL=(ALL) ALL' >>/etc/sudoers.d/lab
"""
NAMES = ("bull1", "book1", "trix1")
# A listener of root's whose queue is full: a backlog of 1 takes two connections.
FULL = """\
import socket, time
s = socket.socket()
s.bind(('127.0.0.1', 7001))
s.listen(1)
held = [socket.create_connection(('127.0.0.1', 7001)) for _ in range(2)]
time.sleep(600)
"""
ROWS = (("link", "links", "name"), ("device", "devices", "name"), ("sockets", "listeners", "address"))
"""Surface, its list, and what each of the list is known by."""


@pytest.fixture(scope="module", autouse=True)
def _hosts() -> Iterator[None]:
    specs = {n: Spec(f"ns:{s}") for n, s in zip(NAMES, ("bullseye", "bookworm", "trixie"), strict=True)}
    with hosts.up(specs):
        for name in NAMES:
            hosts.script(name, USERS)
        yield


def login(tmp_path: Path, user: str) -> Path:
    """Return an inventory that logs in as this user."""
    chosen = {n: h for n, h in inventory.load().items() if n in NAMES}
    source = tmp_path / "inventory.ini"
    source.write_text(inventory.ini(chosen).replace("ansible_user=root", f"ansible_user={user}"))
    return source


def test_an_ordinary_user_gets_a_partial_reading_with_reasons(tmp_path: Path) -> None:
    result = run_hostaudit(login(tmp_path, "reader"))
    partial = result.hosts("partial")
    assert sorted(partial) == sorted(NAMES), result.hosts("unreachable")
    for reason in partial.values():
        assert "firewall" in reason
        assert "CAP_NET_ADMIN" in reason or "root" in reason or "privilege" in reason, reason
    unknown = {f["check"] for f in result.document["findings"] if f["status"] == "unknown"}
    assert "conntrack-invalid-drop" in unknown, "what could not be read is unknown, never a pass"


def test_an_ordinary_user_sees_what_root_sees_or_is_told_why_not(tmp_path: Path) -> None:
    """A surface is as long as root's, or has its reason: a queue is full, and whose it is only root may see."""
    for name in NAMES:
        hosts.script(name, f"cat >/tmp/full.py <<'END'\n{FULL}END\n")
        hosts.script(name, "setsid python3 /tmp/full.py </dev/null >/tmp/wrong 2>&1 & sleep 1")
    answers = {}
    for user, options in {"reader": (), "admin": ("--become",)}.items():
        saved = tmp_path / f"{user}.json"
        run_hostaudit(login(tmp_path, user), *options, "--save", str(saved))
        answers[user] = {a["host"]["name"]: a["snapshot"] for a in json.loads(saved.read_text())["collected"]}
    for name in NAMES:
        mine, root = answers["reader"][name], answers["admin"][name]
        assert root["unread"] == []
        told = {u["surface"]: u["reason"] for u in mine["unread"]}
        missing = {surface for surface in SURFACES if mine[surface] is None}
        assert missing == {"firewall"}
        assert missing <= told.keys()
        assert mine["route"] == root["route"]
        assert mine["resolver"] == root["resolver"]
        assert mine["sysctl"]["knobs"].keys() == root["sysctl"]["knobs"].keys()
        for surface, rows, key in ROWS:
            assert [r[key] for r in mine[surface][rows]] == [r[key] for r in root[surface][rows]], surface
        assert holder(root)["name"].startswith("python3")
        assert holder(mine) is None
        assert "CAP_SYS_PTRACE" in told["sockets.processes"]


def holder(snapshot: dict[str, Any]) -> Any:
    (found,) = [one for one in snapshot["sockets"]["listeners"] if one["address"] == "127.0.0.1:7001"]
    return found["process"]


def test_sudo_without_a_password(tmp_path: Path) -> None:
    result = run_hostaudit(login(tmp_path, "admin"), "--become")
    assert sorted(result.hosts("ok")) == sorted(NAMES), result.hosts("partial") | result.hosts("unreachable")


def test_sudo_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    source = login(tmp_path, "wheel")
    result = run_hostaudit(source, "--become", "--become-password-file", str(tmp_path / "password"))
    assert sorted(result.hosts("ok")) == sorted(NAMES), result.hosts("partial") | result.hosts("unreachable")


@pytest.mark.parametrize(("user", "password"), [("wheel", "wrong"), ("wheel", ""), ("reader", PASSWORD)])
def test_sudo_that_is_refused_is_a_reason(tmp_path: Path, user: str, password: str) -> None:
    options = ["--become"]
    if password:
        (tmp_path / "password").write_text(f"{password}\n")
        options += ["--become-password-file", str(tmp_path / "password")]
    result = run_hostaudit(login(tmp_path, user), *options)
    reasons = result.hosts("unreachable")
    assert sorted(reasons) == sorted(NAMES)
    for reason in reasons.values():
        assert "sudo" in reason
        assert PASSWORD not in reason
    assert PASSWORD not in result.stderr
    assert result.code & 4


def test_the_password_is_never_on_a_command_line(tmp_path: Path) -> None:
    """What a login shell is asked to run is visible to every user of the host."""
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; sleep 0.05"
    watch = f"for i in $(seq 1000); do [ -e /tmp/seen ] && break; {look}; done; rm -f /tmp/seen"
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    seen = tmp_path / "seen"
    with seen.open("wb") as out, subprocess.Popen(hosts.inside("book1", "sh", "-c", watch), stdout=out) as watcher:
        run_hostaudit(login(tmp_path, "wheel"), "--become", "--become-password-file", str(tmp_path / "password"))
        hosts.script("book1", ": >/tmp/seen")
        watcher.wait(30)
    text = seen.read_text(errors="replace")
    assert "sudo" in text, "the watcher saw the login"
    assert PASSWORD not in text


def test_the_lab_key_is_needed(tmp_path: Path) -> None:
    source = login(tmp_path, "nobody-here")
    reasons = run_hostaudit(source).hosts("unreachable")
    assert sorted(reasons) == sorted(NAMES)
    for reason in reasons.values():
        assert "nobody-here" in reason
        assert str(LAB) in reason or "key" in reason, reason
