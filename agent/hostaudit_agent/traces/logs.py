"""What programs logged: dpkg each package, sudo and its like each command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Logged, PackageEvent

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

DPKG = ("var/log/dpkg.log.1", "var/log/dpkg.log")
ACTIONS = ("install", "upgrade", "remove", "purge")
SYSLOG = ("var/log/auth.log.1", "var/log/auth.log", "var/log/secure")
PROGRAMS = ("sudo", "su", "doas")
TAIL = 1 << 20
"""Bytes of a log's end that are looked at."""
MOST, PACKAGES = 40, 400
LINES = 300
LONGEST = 300
"""Characters of a command."""
_SYSLOG = re.compile(
    r"(\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ (sudo|su|doas)(?:\[\d+\])?: +(.*)"
)


def packages(root: Root, since: float) -> list[PackageEvent]:
    """Return what dpkg did since then. Its log has local time. Raises UnreadableError where there is no such log."""
    if not any(root.exists(path) for path in DPKG):
        raise UnreadableError("there is no /var/log/dpkg.log")
    found = []
    for path in DPKG:
        for line in tail(root, path).splitlines():
            words = line.split(" ")
            if len(words) >= 6 and words[2] in ACTIONS:
                when = _local(f"{words[0]} {words[1]}", "%Y-%m-%d %H:%M:%S")
                if when is not None and when >= since:
                    version = words[4] if words[2] in ("remove", "purge") else words[5]
                    found.append(PackageEvent(when, words[2], words[3], version))
    return found[-PACKAGES:]


def commands(root: Root, since: float) -> list[Logged]:
    """Return what sudo, su and doas logged since then: from syslog's file, else from the journal."""
    there = [path for path in SYSLOG if root.exists(path)]
    found = [one for path in there for one in _syslog(tail(root, path), since)] if there else _journal(root, since)
    # what this program, and Ansible, do through sudo is no news
    return [one for one in found if "hostaudit-" not in one.text and "BECOME-SUCCESS" not in one.text][-MOST:]


def tail(root: Root, path: str) -> str:
    """Return the end of a file; empty where there is none. Raises OSError where it may not be read."""
    try:
        with open(root.path(path), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return file.read(TAIL).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _syslog(text: str, since: float) -> list[Logged]:
    found = []
    for line in text.splitlines():
        match = _SYSLOG.match(line)
        if match and _said(match[3]):
            when = _stamp(match[1])
            if when is not None and when >= since:
                found.append(Logged(when, match[2], match[3][:LONGEST]))
    return found


def _said(text: str) -> bool:
    """Say whether a line is about a command or a change of user, and not about a session."""
    return not text.startswith("pam_")


def _stamp(text: str) -> float | None:
    """Return a time of syslog: RFC 3339, or the old form without a year, which is then the last such day."""
    if text[0].isdigit():
        match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))?", text)
        if not match:
            return None
        import calendar  # noqa: PLC0415 - for this form only

        offset = int(match[3] or 0) * 3600 + int(match[4] or 0) * 60
        base = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
        return float(base - (-offset if match[2] == "-" else offset))
    year = time.localtime().tm_year
    when = _local(f"{year} {text}", "%Y %b %d %H:%M:%S")
    if when is not None and when > time.time() + 86400:
        when = _local(f"{year - 1} {text}", "%Y %b %d %H:%M:%S")
    return when


def _local(text: str, form: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, form))
    except (ValueError, OverflowError):
        return None


def _journal(root: Root, since: float) -> list[Logged]:
    """Ask journalctl for the lines of those programs."""
    if root.top:
        raise UnreadableError("neither /var/log/auth.log nor /var/log/secure is there")
    wanted = [word for name in PROGRAMS for word in ("-t", name)]
    command = ["journalctl", "-q", "--no-pager", "-o", "json", "-n", str(LINES), f"--since=@{since:.0f}", *wanted]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=10,
        )
    except FileNotFoundError:
        raise UnreadableError("there is neither a log of sudo in /var/log nor journalctl") from None
    except subprocess.SubprocessError as e:
        raise UnreadableError(f"journalctl: {e}") from None
    if done.returncode and not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip()[:LONGEST]
        raise UnreadableError(f"journalctl: {said or 'failed'}")
    found = []
    for line in done.stdout.splitlines():
        try:
            entry = json.loads(line)
            when, text = int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry["MESSAGE"]).strip()
        except (ValueError, KeyError, TypeError):
            continue
        if _said(text):
            found.append(Logged(when, str(entry.get("SYSLOG_IDENTIFIER", "")), text[:LONGEST]))
    return found
