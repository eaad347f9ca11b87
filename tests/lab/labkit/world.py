"""The private world: one set of namespaces that takes every host with it when it ends, whatever ended it.

    lab.py  ->  setpriv --pdeathsig  ->  unshare --kill-child  ->  lab.py (process 1 of the world)  ->  the command

When the first process dies, even by SIGKILL, the kernel kills the next; when process 1 of a PID namespace dies, the
kernel kills all others in it; with the last process go the mounts (LAB_DIR is a tmpfs), the links and the network
namespaces. Only empty control group directories of ``boot`` hosts outlive a SIGKILL; the next run removes them.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from labkit import hosts
from labkit.settings import CACHE, LAB, LabError, need, sh

MARK = LAB / "world"


def inside() -> bool:
    """Tell whether this process is in a world that ``lab.py run`` made."""
    try:
        return MARK.read_text() == str(Path("/proc/self/ns/net").readlink())
    except OSError:
        return False


def is_first() -> bool:
    """Tell whether this process is the first of a new world, to be set up."""
    return os.getpid() == 1 and "LAB_ID" in os.environ


def sweep_dead() -> None:
    """Remove the empty control groups of worlds that were killed."""
    for top in hosts.CGROUPS:
        for group in Path(top).glob("lab-[1-9]*-*"):
            if not Path(f"/proc/{group.name.split('-')[1]}").exists():
                hosts.sweep(group.name)


def enter() -> int:
    """Run this same command line again as process 1 of a new world; return its exit status."""
    need("unshare", "nsenter", "ip")
    sweep_dead()
    # the process number tells whether the lab still runs; the rest, that a lab within a lab is another one
    os.environ["LAB_ID"] = f"lab-{os.getpid()}-{os.urandom(2).hex()}"
    unshare = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL"]
    unshare += ["--mount-proc", "--propagation", "private", sys.executable, *sys.argv]
    # Ctrl-C goes to the whole group; the command inside decides what it means. A handler, not SIG_IGN: that one
    # would be inherited by the command.
    signal.signal(signal.SIGINT, lambda *_: None)
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *unshare])
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    status = child.wait()
    mine = f"{os.environ['LAB_ID']}-*"
    hosts.wait(lambda: hosts.sweep(mine), 20, "processes of the lab are left over")
    return status if status >= 0 else 128 - status


def furnish() -> None:
    """Set up a new world: LAB_DIR and the names of network namespaces are its own."""
    if not CACHE.exists():
        raise LabError(f"no Debian trees in {CACHE}; make them with: lab.py build bookworm bullseye trixie")
    for place in (LAB, Path("/run/netns")):
        place.mkdir(parents=True, exist_ok=True)
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    LAB.chmod(0o700)
    hosts.setup()
    MARK.write_text(str(Path("/proc/self/ns/net").readlink()))
    os.environ["LAB_SSH_CONFIG"] = str(LAB / "ssh_config")


def supervise(command: list[str]) -> int:
    """Run the command as process 1 does: reap every orphan, return the command's exit status."""
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        child = subprocess.Popen(command)
    except OSError as e:
        raise LabError(f"cannot run {command[0]}: {e.strerror}") from e
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode
