"""Disk images of virtual machines: a Debian root with Debian's own kernel, built once from the mirror.

An image is a directory: ``disk.raw`` (ext4, sparse, the read-only lower layer of every machine), ``vmlinuz`` and
``initrd.img``, which QEMU loads itself, so that no boot loader is emulated.
"""

import hashlib
import os
from pathlib import Path

from labkit.settings import CACHE, SCRIPTS, need, sh
from labkit.trees import PACKAGES, SUITES, built, debootstrap, keys

IMAGES = tuple(f"vm-{suite}" for suite in SUITES)
MORE = "linux-image-amd64,initramfs-tools,udev,zstd,ethtool,netplan.io,netbase"
"""netplan does nothing until somebody gives it a file."""
ASIDE = "ifupdown2"
"""Excludes ifupdown: its package lies in /var/cache/lab. A machine has no way to a mirror."""
SIZE = "3G"


def recipe(suite: str) -> str:
    """Return everything that decides what is in the image; the lab's keys, too, which nobody can add later."""
    scripts = ("prepare.sh", "vm-prepare.sh", "vm-net.sh", "vm-door.py")
    texts = [(SCRIPTS / name).read_text() for name in scripts]
    public = [(CACHE / f"{name}.pub").read_text() for name in ("key", "hostkey")]
    return "\n".join(["1", suite, PACKAGES, MORE, ASIDE, SIZE, *texts, *public])


def image(suite: str) -> Path:
    """Return the path of the image of a Debian suite; its name holds a hash of the recipe."""
    keys()
    return CACHE / f"vm-{suite}-{hashlib.sha256(recipe(suite).encode()).hexdigest()[:12]}"


def build(suite: str) -> Path:
    """Build the image unless it is there: about 70 s on a quiet machine, and 800 MB."""
    need("mmdebstrap", "mke2fs")

    def make(work: Path) -> None:
        root = work / "root"
        work.mkdir()
        fetch = f"mkdir -p /var/cache/lab; cd /var/cache/lab; apt-get -qq -o APT::Sandbox::User=root download {ASIDE}"
        debootstrap(suite, root, f"{PACKAGES},{MORE}", f"--customize-hook=chroot \"$1\" sh -ec '{fetch}'")
        environment = dict(os.environ, SCRIPTS=str(SCRIPTS), CACHE=str(CACHE), SIZE=SIZE)
        sh("sh", SCRIPTS / "vm-prepare.sh", work, env=environment)

    return built(image(suite), f"a Debian {suite} virtual machine", make)
