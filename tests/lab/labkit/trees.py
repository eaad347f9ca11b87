"""Debian root trees: built once with mmdebstrap, then the read-only lower layer of every host."""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labkit.settings import CACHE, SCRIPTS, LabError, need, sh

SUITES = ("bullseye", "bookworm", "trixie")
PACKAGES = (
    "systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,python3,python3-apt,iproute2,procps,kmod,"
    "ifupdown,ca-certificates,nftables,iptables,conntrack,sudo"
)


def tree(suite: str) -> Path:
    """Return the path of the tree; its name holds a hash of the recipe. ``host`` is this machine's own root."""
    if suite == "host":
        return Path("/")
    if suite not in SUITES:
        raise LabError(f"no such suite: {suite}; there are {', '.join(SUITES)} and host")
    recipe = f"2 {suite} {PACKAGES} \n{(SCRIPTS / 'prepare.sh').read_text()}"
    return CACHE / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def mirror() -> str:
    """Return the Debian mirror that this machine's apt uses; LAB_MIRROR overrides it."""
    if url := os.environ.get("LAB_MIRROR"):
        return url
    out = sh("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").stdout.split()
    found = [u for u in out if "security" not in u]
    if not found:
        raise LabError("apt knows no Debian mirror; name one in LAB_MIRROR")
    return found[0].rstrip("/")


def debootstrap(suite: str, root: Path, packages: str, *more: str) -> None:
    """Make a Debian root, changed by ``prepare.sh`` alone; ``more`` are options of mmdebstrap."""
    paths = [f"--dpkgopt=path-exclude=/usr/share/{p}/*" for p in ("doc", "man", "locale")]
    options = ["--quiet", "--mode=root", "--variant=minbase", f"--include={packages}"]
    # a mirror that is a frozen copy has Release files past their date
    options += ['--aptopt=Acquire::Check-Valid-Until "false"', *paths, *more]
    sh("mmdebstrap", *options, suite, root, mirror())
    sh("sh", SCRIPTS / "prepare.sh", root)


def built(dest: Path, what: str, make: Callable[[Path], None]) -> Path:
    """Return ``dest``, made by ``make`` in one rename unless it is there. Safe to call from several processes."""
    if dest.exists():
        return dest
    CACHE.mkdir(parents=True, exist_ok=True)
    name = dest.name.rpartition("-")[0]
    with (CACHE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if dest.exists():
            return dest
        work = CACHE / f".{name}.tmp"
        shutil.rmtree(work, ignore_errors=True)
        began = time.monotonic()
        print(f"lab: building {what}, once", file=sys.stderr)
        make(work)
        work.rename(dest)
        print(f"lab: built {dest} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return dest


def build(suite: str) -> Path:
    """Build the tree unless it is there: about 20 s and 200 MB each. Safe to call from several processes."""
    need("mmdebstrap")
    return built(tree(suite), f"a Debian {suite} tree", lambda work: debootstrap(suite, work, PACKAGES))


def keys() -> None:
    """Make one key pair for logins and one host key, for every lab of this cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("key", "hostkey"):
            if not (CACHE / name).exists():
                sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab-{name}", "-f", CACHE / name)
