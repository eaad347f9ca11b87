"""The files that decide over knobs: when they changed, who owns them, which package brought them."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from hostaudit_agent.snapshot import FileTrace

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

WATCHED = (
    "etc/sysctl.conf", "etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "etc/modprobe.d",
    "etc/modules-load.d", "etc/network/interfaces", "etc/network/interfaces.d", "etc/systemd/network", "etc/netplan",
    "etc/nftables.conf", "etc/iptables", "etc/tuned", "etc/ufw/sysctl.conf", "etc/pve/local/host.fw",
    "etc/pve/firewall/cluster.fw", "etc/resolv.conf",
)  # fmt: skip
MOST = 48
LISTS = "var/lib/dpkg/info"


def traces(root: Root, paths: list[str], since: float) -> list[FileTrace]:
    """Return the files asked for, there or not, and those of ``WATCHED`` that changed since; newest first."""
    found = {path: trace(root, path) for path in paths}
    for place in WATCHED:
        inside = root.path(place)
        for path in [f"{place}/{name}" for name in root.names(place)] if os.path.isdir(inside) else [place]:
            one = trace(root, "/" + path)
            if one.there and one.changed >= since:
                found.setdefault(one.path, one)
    chosen = sorted(found.values(), key=lambda one: -one.changed)[:MOST]
    packages = _packages(root, {one.path for one in chosen if one.there})
    for one in chosen:
        one.package = packages.get(one.path, "")
    return chosen


def trace(root: Root, path: str) -> FileTrace:
    """Return what the file system says of a path; a file that was moved here changed when it was moved (ctime)."""
    try:
        seen = os.lstat(root.path(path))
    except OSError:
        try:
            above = os.stat(root.path(os.path.dirname(path)))
        except OSError:
            return FileTrace(path, False, 0.0)
        return FileTrace(path, False, round(above.st_mtime, 3))
    return FileTrace(path, True, round(max(seen.st_mtime, seen.st_ctime), 3), _user(seen.st_uid))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _packages(root: Root, paths: set[str]) -> dict[str, str]:
    """Return file -> the package whose list names it; those of /usr/lib may be listed below /lib (merged /usr)."""
    wanted = {}
    for path in paths:
        wanted[path.encode()] = path
        if path.startswith("/usr/lib/"):
            wanted[path[4:].encode()] = path
    found: dict[str, str] = {}
    for name in root.names(LISTS) if wanted else []:
        if name.endswith((".list", ".conffiles")):
            data = b"\n" + (root.read_bytes(f"{LISTS}/{name}") or b"") + b"\n"
            for text, path in wanted.items():
                if b"\n" + text + b"\n" in data:
                    found.setdefault(path, name.rpartition(".")[0].partition(":")[0])
    return found
