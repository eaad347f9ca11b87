"""Serves /etc/pve to ``+pve`` hosts of the lab: one process of ``proxmox_fs.py`` for each, in the lab's own namespaces.

All such hosts that are up are one cluster; a single one is a node of its own. Their common content lies in
LAB_DIR/pve and outlives a reboot of a node, as it does on the disk of a real one.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from labkit.settings import LAB, LabError

STORE = LAB / "pve"
PROGRAM = Path(__file__).with_name("proxmox_fs.py")
_children: dict[str, subprocess.Popen[bytes]] = {}


def mountpoint(name: str) -> Path:
    """Return where a node's file system is mounted, outside of the node."""
    return STORE / "mount" / name


def start(name: str, address: str) -> None:
    """Let the node join the cluster, and mount its file system."""
    if not Path("/dev/fuse").exists():
        raise LabError("no /dev/fuse: this kernel has no FUSE, or the container hides it; +pve hosts need it")
    for folder in ("files", "members", "alone", "mount", "log"):
        (STORE / folder).mkdir(parents=True, exist_ok=True)
    (STORE / "members" / name).write_text(address)
    at = mountpoint(name)
    at.mkdir(exist_ok=True)
    with (STORE / "log" / name).open("w") as log:
        line = [sys.executable, str(PROGRAM), str(at), name, str(STORE)]
        child = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    _children[name] = child
    (STORE / "log" / f"{name}.pid").write_text(str(child.pid))
    end = time.monotonic() + 30
    while not (at / ".version").exists():
        if child.poll() is not None or time.monotonic() > end:
            raise LabError(f"{name}: /etc/pve cannot be served: {(STORE / 'log' / name).read_text()[-1000:]}")
        time.sleep(0.05)


def environment(name: str, suite: str) -> dict[str, str]:
    """Return what sh/pve.sh needs to know. LAB_PVE_PERIOD: seconds between two rounds of the firewalls, as upstream."""
    period = os.environ.get("LAB_PVE_PERIOD", "")
    return {"PVE": str(mountpoint(name)), "PVE_SUITE": suite, "PVE_PERIOD": period, "PVE_PROGRAMS": str(PROGRAM.parent)}


def stop(name: str) -> None:
    """Take the node out of the cluster; what it had written stays until the last node is gone."""
    if not (STORE / "members" / name).exists():
        return
    crash(name)
    subprocess.run(["umount", "-l", mountpoint(name)], check=False, capture_output=True)
    for folder in ("members", "alone"):
        (STORE / folder / name).unlink(missing_ok=True)
    if not list((STORE / "members").iterdir()):
        subprocess.run(["rm", "-rf", "--one-file-system", STORE], check=False)


def crash(name: str) -> None:
    """Kill the process behind the file system, as when pmxcfs crashes: what uses it gets ENOTCONN."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(int((STORE / "log" / f"{name}.pid").read_text()), signal.SIGKILL)
    if child := _children.pop(name, None):
        child.wait()


def quorum(name: str, *, lost: bool) -> None:
    """Cut a node off from the others of its cluster, or let it back; a single node is always quorate."""
    mark = STORE / "alone" / name
    if lost:
        mark.touch()
    else:
        mark.unlink(missing_ok=True)
