"""Where the lab keeps things, and how it reports errors."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent / "sh"
CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/hostaudit-lab"))
"""Root trees and the key pair; the only thing that outlives a world."""
LAB = Path(os.environ.get("LAB_DIR", "/run/hostaudit-lab"))
"""The running lab. In a world this is a tmpfs of its own."""
NET = "10.77.0"
"""The management network: the lab's own machine is .1, hosts start at .11."""
BRIDGE = "lx-br0"

NEEDS = {
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}
"""Command -> Debian package."""


class LabError(Exception):
    """Something that the person at the keyboard can act on; shown without a traceback."""


def need(*commands: str) -> None:
    """Raise LabError with the apt-get line when one of the commands is not installed."""
    missing = sorted({NEEDS[c] for c in commands if not shutil.which(c)})
    if missing:
        raise LabError(f"missing programs; install them with: apt-get install -y {' '.join(missing)}")


def need_root() -> None:
    """Raise LabError unless root runs this: namespaces with overlay mounts are root's."""
    if os.geteuid() != 0:
        raise LabError("needs root, because it makes namespaces, mounts and bridges; run it with sudo")


def sh(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; LabError with its own words when it fails."""
    argv = [str(c) for c in command]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, **options)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(argv)}` failed with exit status {done.returncode}: {said}")
    return done
