"""Forty hosts: thirty-one plain, four in a bad state that must be read all the same, five that cannot be audited."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit import hosts, inventory
from labkit.hosts import Spec
from labkit.settings import LAB, NET, sh
from labkit.trees import SUITES

PLAIN = tuple(f"web{i:02}" for i in range(1, 32))
BAD_STATE = ("full", "noisy", "readonly", "slow")
BROKEN = ("dead", "garbage", "hang", "nopython", "stranger")

FULL = """\
mount -t tmpfs -o size=64k tmpfs /tmp
mount -t tmpfs -o size=64k tmpfs /dev/shm
for d in / /tmp /dev/shm; do cat /dev/zero >$d/fill 2>/dev/null || :; done
! echo x >/probe 2>/dev/null || exit 1
"""
BANNER = "NOTICE: authorised use only {\x1b[31m}\n" * 5
NOISY = """\
echo 'echo "*** you have 3 new messages ***"; echo {\\"not\\": \\"json\\"}; echo oops >&2; stty -a' >/root/.bashrc
chsh -s /bin/bash root
echo 'Welcome to the machine.' >/etc/motd
"""
NO_PYTHON = "rm -f /usr/bin/python3*"
INSTEAD = "rm /usr/bin/python3; printf '#!/bin/sh\\n%s\\n' '{}' >/usr/bin/python3; chmod 755 /usr/bin/python3"


def slow_down(name: str) -> None:
    """Limit the host's link to 512 kbit/s in both directions; tbf, because not every kernel has netem."""
    limit = ["root", "tbf", "rate", "512kbit", "burst", "4k", "latency", "1s"]
    sh("tc", "qdisc", "add", "dev", f"lx-{name}", *limit)
    hosts.run(name, "tc", "qdisc", "add", "dev", "eth0", *limit)


def specs() -> dict[str, Spec]:
    """Return what to start: Debian 11, 12 and 13 in turn. ``dead`` is an address where nothing is."""
    names = (*PLAIN, *BAD_STATE, *(b for b in BROKEN if b != "dead"))
    chosen = {n: Spec(f"ns:{SUITES[i % len(SUITES)]}", groups=("web",)) for i, n in enumerate(names)}
    chosen["full"] = Spec("ns:bookworm", groups=("web",), disk="1m")
    chosen["noisy"] = Spec("ns:bookworm", groups=("web",), banner=BANNER)
    return chosen


def write_inventory() -> Path:
    """Write the forty's inventory, with a known_hosts file in which ``stranger`` has another key."""
    running = inventory.load()
    everyone = running | {"dead": running["web01"] | {"address": f"{NET}.250"}}
    other = LAB / "otherkey"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
    right = inventory.known_hosts(h["address"] for n, h in everyone.items() if n != "stranger")
    wrong = inventory.known_hosts([running["stranger"]["address"]], other.with_suffix(".pub").read_text().strip())
    known, source = LAB / "forty.known_hosts", LAB / "forty.ini"
    known.write_text(right + wrong)
    source.write_text(inventory.ini(everyone, known))
    return source


@contextmanager
def forty() -> Iterator[Path]:
    """Start the forty, put nine of them into their states, and return their inventory."""
    with hosts.up(specs()):
        hosts.script("full", FULL)
        hosts.run("readonly", "mount", "-o", "remount,bind,ro", "/")
        hosts.script("noisy", NOISY)
        slow_down("slow")
        hosts.script("nopython", NO_PYTHON)
        hosts.script("hang", INSTEAD.format("exec sleep 1000"))
        hosts.script("garbage", INSTEAD.format("exec cat /dev/urandom"))
        try:
            yield write_inventory()
        finally:
            for name in ("otherkey", "otherkey.pub"):
                (LAB / name).unlink(missing_ok=True)
