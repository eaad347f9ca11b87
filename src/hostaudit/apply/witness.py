"""Runs on the host beside ``onhost.py``: what will be set at the next boot, and what happened a short while ago.

It only reads. A change that is gone after the next boot, or that somebody took back, is explained by what it finds.

    boot JSON     {"links": [NAME], "modules": [NAME], "options": ["MODULE PARAMETER"], "clamps": [NAME]}
                  -> {"mtu": {NAME: [VALUE, FILE]}, "modules": {NAME: FILE}, "options": {...: [VALUE, FILE]},
                      "clamps": {NAME: [SIZE, FILE]}}
    since JSON    {"seconds": N, "words": [WORD]}  -> sentences about files, units and logged commands, newest last

Python 3.9, stdlib.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pwd
import re
import subprocess
import time
from typing import Any

PLACES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Where drop-ins are; a file hides those of the same name in later places (systemd.unit(5), modprobe.d(5))."""
WATCHED = (
    "/etc/sysctl.conf", "/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d",
    "/etc/modprobe.d", "/etc/modules-load.d", "/etc/network/interfaces", "/etc/network/interfaces.d",
    "/etc/systemd/network", "/run/systemd/network", "/etc/netplan", "/etc/nftables.conf", "/etc/pve/local/host.fw",
    "/etc/pve/firewall/cluster.fw", "/etc/tuned", "/etc/ufw/sysctl.conf",
)  # fmt: skip
"""Files, and folders of files, that programs set knobs from."""
UNITS, CLAMP = "/etc/systemd/system", "hostaudit-mss-clamp.service"
"""Where the role mss_clamp writes its unit."""
LOGGERS = ("sudo", "CRON", "cron", "crond", "doas", "su")
OURS = ("hostaudit", "session-", "user@", "user-runtime-dir@", "ssh@", "sshd@")
"""Beginnings of the names of units that are about being here."""
MOST = 5
"""Sentences of each kind."""
LINES = 400
"""Of the log's end that are looked at."""


def boot(wanted: dict[str, list[str]]) -> dict[str, object]:
    """Return what the files say about the next boot; None where they say nothing."""
    return {
        "mtu": {name: of_networkd(name) or of_interfaces(name) for name in wanted.get("links", [])},
        "modules": {name: loaded(name) for name in wanted.get("modules", [])},
        "options": {name: parameter(*name.split(" ", 1)) for name in wanted.get("options", [])},
        "clamps": {name: clamp(name) for name in wanted.get("clamps", [])},
    }


def text(path: str) -> str:
    """Return what a file holds; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def dropins(folder: str, pattern: str = "*.conf") -> list[str]:
    """Return the drop-ins of a folder that count, in the order of their names."""
    found: dict[str, str] = {}
    for place in PLACES:
        for path in glob.glob(f"{place}/{folder}/{pattern}"):
            found.setdefault(os.path.basename(path), path)
    return [found[name] for name in sorted(found)]


def loaded(module: str) -> str | None:
    """Return which file has a module loaded at boot (modules-load.d(5))."""
    for path in dropins("modules-load.d"):
        if module in [line.strip().replace("-", "_") for line in text(path).splitlines()]:
            return path
    return None


def parameter(module: str, name: str) -> list[str] | None:
    """Return the value of a module's parameter, and the file that gives it; the last one counts."""
    found = None
    for path in dropins("modprobe.d"):
        for line in text(path).splitlines():
            words = line.split()
            if words[:1] == ["options"] and words[1:2] and words[1].replace("-", "_") == module:
                for word in words[2:]:
                    if word.startswith(f"{name}="):
                        found = [word.partition("=")[2], path]
    return found


def clamp(link: str) -> list[str] | None:
    """Return the size to which the unit of role mss_clamp lowers the MSS both ways over a link, where it is enabled.

    ``pmtu``, or bytes for IPv4, which come before those for IPv6.
    """
    if not os.path.exists(f"{UNITS}/multi-user.target.wants/{CLAMP}"):
        return None
    sizes = []
    for way in ("o", "i"):
        name = re.escape(link)
        rule = rf'(?:{way}ifname "{name}"|-{way} {name}) .*(?:set |--set-mss |--clamp-mss-to-)(rt mtu|pmtu|\d+)'
        found = re.search(rule, text(f"{UNITS}/{CLAMP}"))
        sizes.append(found.group(1).replace("rt mtu", "pmtu") if found else "")
    return [sizes[0], f"{UNITS}/{CLAMP}"] if sizes[0] and sizes[0] == sizes[1] else None


def of_networkd(link: str) -> list[str] | None:
    """Return the MTU that systemd-networkd gives a link, netplan's among them: MTUBytes= of its .network file."""
    state = text(f"/run/systemd/netif/links/{text(f'/sys/class/net/{link}/ifindex').strip()}")
    match = re.search(r"^NETWORK_FILE=(.+)$", state, re.MULTILINE)
    if not match:
        return None
    found, path = None, match.group(1)
    for file in (path, *dropins(f"systemd/network/{os.path.basename(path)}.d")):
        section = ""
        for line in text(file).splitlines():
            if line.startswith("["):
                section = line.strip()
            elif section == "[Link]" and line.partition("=")[0].strip() == "MTUBytes":
                found = [line.partition("=")[2].strip(), file]
    return found


def of_interfaces(link: str) -> list[str] | None:
    """Return the MTU that ifupdown gives a link: that of its first stanza of family inet, else of its first one."""
    best: list[str] | None = None
    rank = 0
    for file in interfaces("/etc/network/interfaces", 0):
        mine = 0
        for line in text(file).splitlines():
            words = line.split()
            if words[:1] and re.match(
                r"iface$|auto$|allow-|mapping$|source|no-auto-down$|no-scripts$|rename$", words[0]
            ):
                mine = (2 if words[2:3] == ["inet"] else 1) if words[:2] == ["iface", link] else 0
            elif mine > rank and words[:1] == ["mtu"] and len(words) > 1:
                best, rank = [words[1], file], mine
    return best


def interfaces(path: str, depth: int) -> list[str]:
    """Return the files that ifupdown reads, in order (interfaces(5))."""
    found = [path]
    for line in text(path).splitlines() if depth < 5 else []:
        words = line.split()
        if len(words) > 1 and words[0] in ("source", "source-directory"):
            pattern = os.path.join("/etc/network", words[1])
            for one in sorted(glob.glob(pattern)):
                if os.path.isdir(one):
                    inside = [f"{one}/{name}" for name in sorted(os.listdir(one)) if re.fullmatch(r"[\w-]+", name)]
                else:
                    inside = [one]
                for file in inside:
                    found += interfaces(file, depth + 1)
    return found


def since(asked: dict[str, Any]) -> list[str]:
    """Return what happened in the last seconds that may have set a knob; sentences with their age."""
    return [*files(asked["seconds"]), *units(asked["seconds"]), *logged(asked["seconds"], asked["words"])]


def files(seconds: float) -> list[str]:
    """Return the watched files that changed; a file that was moved here changed when it was moved (ctime)."""
    found = []
    for place in WATCHED:
        for path in (place, *glob.glob(f"{place}/*")) if os.path.isdir(place) else (place,):
            with contextlib.suppress(OSError):
                seen = os.stat(path)
                age = time.time() - max(seen.st_mtime, seen.st_ctime)
                if age <= seconds:
                    found.append((age, f"{path} changed {ago(age)}, owner {owner(seen.st_uid)}"))
    return [said for _, said in sorted(found, reverse=True)][-MOST:]


def owner(uid: int) -> str:
    """Return the name of a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def units(seconds: float) -> list[str]:
    """Return the services that were started; the times of systemd are microseconds of the monotonic clock."""
    names = "Id,ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic"
    now, found = time.monotonic(), []
    for block in output("systemctl", "show", "--type=service", f"--property={names}", "*").split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        times = [int(v) for k, v in fields.items() if k.endswith("Monotonic") and v.isdigit() and int(v)]
        if times and now - max(times) / 1e6 <= seconds and not fields.get("Id", "").startswith(OURS):
            found.append((now - max(times) / 1e6, fields.get("Id", "")))
    return [f"{name} started {ago(age)}" for age, name in sorted(found, reverse=True)][-MOST:]


def logged(seconds: float, words: list[str]) -> list[str]:
    """Return the commands in the log, of sudo, cron and Ansible, that name one of the words."""
    found = []
    start = f"--since=@{time.time() - seconds:.0f}"
    for line in output("journalctl", "-q", "--no-pager", "-o", "json", "-n", str(LINES), start).splitlines():
        with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
            entry = json.loads(line)
            name, said = str(entry.get("SYSLOG_IDENTIFIER", "")), str(entry["MESSAGE"])
            who = name in LOGGERS or name.startswith("ansible") or said.startswith("ansible-")
            if who and any(word in said for word in words):
                age = time.time() - int(entry["__REALTIME_TIMESTAMP"]) / 1e6
                found.append(f"{name} logged {ago(age)}: {said[:200]}")
    return found[-MOST:]


def ago(age: float) -> str:
    """Return an age for people."""
    return f"{max(0, age):.0f} s ago"


def output(*command: str) -> str:
    """Return what a program prints; empty where there is none, or it takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")
