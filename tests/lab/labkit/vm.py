"""Virtual machines of the lab: Debian's own kernel under QEMU, emulated (TCG), so that no KVM is needed.

What only they have: modules that load and unload, ``nf_conntrack_max`` and other settings of the whole machine, a boot
in the order of a real one, a clock that can be set, and a power switch.
"""

import os
import signal
import sys
from pathlib import Path

from labkit import inventory
from labkit.settings import BRIDGE, LAB, NET, SCRIPTS, LabError, sh

ACCELERATOR = os.environ.get("LAB_ACCEL", "tcg,thread=multi")
"""``kvm`` where that works; where virtual machines run inside one, /dev/kvm may open and still be slower than TCG."""
MEMORY = 768  # MiB
BOOT_LIMIT = 1200.0
"""Seconds until sshd answers: 20 on a quiet machine with two cores, 100 at load 40."""


def door(name: str) -> Path:
    """Return the socket of the way in past sshd."""
    return LAB / name / "door"


def inside(name: str, *command: object) -> list[str]:
    """Return the command line that runs ``command`` inside the machine, past its sshd."""
    return [sys.executable, str(Path(__file__).with_name("vm_door.py")), str(door(name)), *(str(c) for c in command)]


def command(name: str, image: Path, address: str) -> list[str]:
    """Make the machine's disk and its link, and return the command line that runs it until it is killed."""
    home, last = LAB / name, int(address.rpartition(".")[2])
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", image / "disk.raw", "-F", "raw", home / "disk")
    sh("ip", "tuntap", "add", f"lx-{name}", "mode", "tap")
    sh("ip", "link", "set", f"lx-{name}", "master", BRIDGE, "up")
    # an emulator that is starved of time fails the check of the timer, and the kernel gives up
    append = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 no_timer_check panic=1 udev.event_timeout=900"
    append += f" systemd.default_timeout_start_sec=900 systemd.hostname={name}"
    qemu = ["nice", "-n", "1", "qemu-system-x86_64", "-no-reboot", "-accel", ACCELERATOR, "-cpu", "max"]
    qemu += ["-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none"]
    qemu += ["-chardev", f"file,id=c,path={home}/console,append=on", "-serial", "chardev:c"]
    qemu += ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd.img"]
    qemu += ["-append", f"{append} lab.addr={address} lab.gw={NET}.1"]
    qemu += ["-drive", f"file={home}/disk,if=virtio,cache=unsafe", "-device", "virtio-rng-pci"]
    qemu += ["-netdev", f"tap,id=n0,ifname=lx-{name},script=no,downscript=no"]
    qemu += ["-device", f"virtio-net-pci,netdev=n0,mac=02:77:00:00:00:{last:02x}"]
    # two more, wired to each other: what a test does to them does not cut its own way in
    for i in (1, 2):
        qemu += ["-netdev", f"hubport,id=n{i},hubid=1"]
        qemu += ["-device", f"virtio-net-pci,netdev=n{i},mac=02:77:00:0{i}:00:{last:02x}"]
    qemu += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=d,path={door(name)},server=on,wait=off"]
    qemu += ["-device", "virtserialport,chardev=d,name=lab.door"]
    return ["sh", str(SCRIPTS / "vm-loop.sh"), str(home), *qemu]


def cut_power(name: str) -> None:
    """Stop a machine without telling it, as a cut of its power does; it starts again at once.

    What its programs wrote and did not sync is lost.
    """
    pid = inventory.load()[name]["pid"]  # of sh/vm-loop.sh
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
        return
    raise LabError(f"{name} does not run")
