"""What this node starts by the clock: cron tables, timers of systemd that are enabled, jobs of Proxmox VE.

Only the program's name is taken from a command line: arguments may hold passwords.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit_agent.snapshot import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit_agent.root import Root

MOST = 128
CRONTAB = "etc/crontab"
SYSTEM_TABLES = "etc/cron.d"
USER_TABLES = "var/spool/cron/crontabs"
TIMERS = ("etc/systemd/system/timers.target.wants", "usr/lib/systemd/system/timers.target.wants")
TIMES = ("OnCalendar", "OnUnitActiveSec", "OnUnitInactiveSec")
PROXMOX = ("etc/pve/jobs.cfg", "etc/pve/replication.cfg")
LONGEST = 80


def read(root: Root) -> list[Job]:
    """Return the jobs, as many as ``MOST``; a file that cannot be read is left out."""
    found: list[Job] = []
    for path, user in _tables(root):
        found += cron(_text(root, path), "/" + path, user=user)
    for directory in TIMERS:
        for name in _names(root, directory):
            if name.endswith(".timer"):
                found += timer(_text(root, f"{directory}/{name}"), name, f"/{directory}/{name}")
    for path in PROXMOX:
        found += sections(_text(root, path), "/" + path)
    return found[:MOST]


def _tables(root: Root) -> Iterator[tuple[str, bool]]:
    """Yield cron tables, and whether their lines name a user."""
    yield CRONTAB, True
    for directory, user in ((SYSTEM_TABLES, True), (USER_TABLES, False)):
        for name in _names(root, directory):
            if not name.startswith("."):
                yield f"{directory}/{name}", user


def _names(root: Root, directory: str) -> list[str]:
    try:
        return root.names(directory)
    except OSError:
        return []


def _text(root: Root, path: str) -> str:
    try:
        return root.read_text(path) or ""
    except OSError:
        return ""


def cron(text: str, file: str, *, user: bool) -> list[Job]:
    """Parse a cron table (crontab(5)); lines that set variables or have too few fields are skipped."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if not fields or line.lstrip().startswith("#") or "=" in fields[0]:
            continue
        times = 1 if fields[0].startswith("@") else 5
        rest = fields[times + user :]
        if rest:
            found.append(Job(rest[0].rpartition("/")[2][:LONGEST], " ".join(fields[:times])[:LONGEST], file))
    return found


def timer(text: str, name: str, file: str) -> list[Job]:
    """Parse a timer unit (systemd.timer(5)): one job for each time that it sets."""
    pairs = (line.strip().partition("=") for line in text.splitlines())
    times = [(key.strip(), value.strip()) for key, _, value in pairs if value.strip()]
    return [Job(name[:LONGEST], f"{key}={value}"[:LONGEST], file) for key, value in times if key in TIMES]


def sections(text: str, file: str) -> list[Job]:
    """Parse a section file of Proxmox VE: ``vzdump: backup-1`` and indented properties, of which ``schedule``."""
    found, head = [], ""
    for line in text.splitlines():
        if line[:1].strip():
            kind, _, name = line.partition(":")
            head = f"{kind.strip()} {name.strip()}".strip()
        else:
            key, _, value = line.strip().partition(" ")
            if key == "schedule" and head:
                found.append(Job(head[:LONGEST], value.strip()[:LONGEST], file))
    return found
