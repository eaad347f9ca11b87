"""Scripts, units, jobs and processes that name a knob: who may write it again.

A process counts where its command line names the knob, or names a script that does; a unit that names it, where a
process of it runs (/proc/PID/cgroup).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hostaudit_agent.snapshot import Mention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit_agent.root import Root

PLACES = (
    "etc/systemd/system", "run/systemd/system", "etc/cron.d", "etc/cron.hourly", "etc/cron.daily", "etc/crontab",
    "var/spool/cron/crontabs", "etc/rc.local", "etc/network/if-up.d", "etc/network/if-pre-up.d", "etc/ppp/ip-up.d",
    "etc/NetworkManager/dispatcher.d", "etc/networkd-dispatcher/routable.d", "usr/local/bin", "usr/local/sbin",
    "opt/bin", "etc/tuned", "etc/dhcp/dhclient-exit-hooks.d", "root/bin",
)  # fmt: skip
JOBS = ("/etc/cron", "/var/spool/cron/")
FILES, SIZE, MOST = 600, 1 << 16, 24
PROCESSES = 5000


def find(root: Root, words: list[str]) -> list[Mention]:
    """Return who names one of these sysctls, dotted or as a path; those that run first."""
    forms = {word: (word.encode(), word.translate(str.maketrans("./", "/.")).encode()) for word in words}
    if not forms:
        return []
    found = []
    timers = {name[: -len(".timer")] for name in root.names("etc/systemd/system") if name.endswith(".timer")}
    for path in _files(root):
        data = _head(root, path)
        for word, both in forms.items():
            if any(form in data for form in both):
                number = next(n for n, line in enumerate(data.split(b"\n"), 1) if any(form in line for form in both))
                unit = os.path.basename(path)
                job = path.startswith(JOBS) or (unit.endswith(".service") and unit[: -len(".service")] in timers)
                found.append(Mention(word, path, number, job))
    found += list(_processes(root, forms, found))
    return sorted(found, key=lambda one: (not one.process, not one.job, one.file))[:MOST]


def _files(root: Root) -> Iterator[str]:
    left = FILES
    for place in PLACES:
        if not os.path.isdir(root.path(place)):
            names = [place] if root.exists(place) else []
        else:
            names = [f"{place}/{name}" for name in root.names(place)]
            names += [f"{folder}/{name}" for folder in names if folder.endswith(".d") for name in root.names(folder)]
        for name in names:
            if left and os.path.isfile(root.path(name)):
                left -= 1
                yield "/" + name


def _head(root: Root, path: str) -> bytes:
    """Return the beginning of a file; of programs, nothing."""
    try:
        with open(root.path(path), "rb") as file:
            data = file.read(SIZE)
    except OSError:
        return b""
    return b"" if data.startswith(b"\x7fELF") else data


def _processes(root: Root, forms: dict[str, tuple[bytes, bytes]], files: list[Mention]) -> Iterator[Mention]:
    own = {str(os.getpid()), str(os.getppid())}
    units = {os.path.basename(m.file).encode(): m for m in files if m.file.endswith(".service")}
    for pid in [name for name in root.names("proc") if name.isdigit() and name not in own][:PROCESSES]:
        try:
            line = root.read_bytes(f"proc/{pid}/cmdline") or b""
            name = (root.read_text(f"proc/{pid}/comm") or "").strip()
            group = root.read_bytes(f"proc/{pid}/cgroup") if units else b""
        except OSError:
            continue
        if not line or b"hostaudit" in line:
            continue
        who = f"{pid} {name}"
        for word, both in forms.items():
            if any(form in line for form in both):
                yield Mention(word, line.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:200], process=who)
        arguments = line.split(b"\0")
        for m in files:
            if not m.process and m.file.encode() in arguments:
                m.process = who
        for unit, m in units.items():
            if not m.process and b"/" + unit + b"\n" in (group or b"") + b"\n":
                m.process = who
