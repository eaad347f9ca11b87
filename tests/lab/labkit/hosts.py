"""Start, enter and stop hosts of the lab.

ns     namespaces, an overlay and sshd; no init system. Twenty start in about 2 s.
boot   the same tree booted by systemd under systemd-nspawn, about 1 s each: units, timers, reboots.
vm     a machine of its own under QEMU, about 20 s: Debian's kernel, modules, settings of the whole machine, its clock.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from labkit import inventory, proxmox_mount, vm, vm_image
from labkit.settings import BRIDGE, CACHE, LAB, NET, SCRIPTS, LabError, need, sh
from labkit.trees import keys, tree

CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
_children: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Spec:
    """What to start: ``kind:suite``, and how it differs from a plain host."""

    what: str
    groups: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Ansible variables of this host."""
    disk: str = ""
    """Size of its disk, as tmpfs takes it (``2m``); empty: no limit."""
    banner: str = ""
    """What sshd says before the login (``ns`` only)."""


def setup() -> None:
    """Make the keys and the management bridge; safe to call again."""
    LAB.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.setdefault("LAB_ID", "lab-0")
    os.environ.update(LAB_DIR=str(LAB), BRIDGE=BRIDGE, NET=NET, SCRIPTS=str(SCRIPTS))
    keys()
    for name in ("key", "key.pub", "hostkey", "hostkey.pub"):
        shutil.copy(CACHE / name, LAB / name)
    # not /sys/class/net: in a world /sys still shows the outer network namespace
    if subprocess.run(["ip", "link", "show", BRIDGE], check=False, capture_output=True).returncode:
        lines = (f"link add {BRIDGE} type bridge", f"addr add {NET}.1/24 dev {BRIDGE}", f"link set {BRIDGE} up")
        sh("ip", "-batch", "-", input="\n".join([*lines, "link set lo up", ""]))


def start(name: str, spec: Spec) -> None:
    """Start one host and add it to the inventory; ``ready`` waits for it."""
    kind, _, rest = spec.what.partition(":")
    suite, _, flag = rest.partition("+")
    if flag not in ("", "pve") or (flag and kind != "boot"):
        raise LabError(f"{name}: no such flag: {spec.what}; there is boot:SUITE+pve")
    if kind not in ("ns", "boot", "vm") or not suite or (kind != "ns" and suite == "host"):
        raise LabError(
            f"{name}: no such kind of host: {spec.what}; there are ns:SUITE, ns:host, boot:SUITE and vm:SUITE"
        )
    if not 0 < len(name) <= 12:
        raise LabError(f"{name!r} does not fit into the name of a network interface: 1 to 12 characters")
    tree(suite)  # is there such a suite?
    lower = vm_image.image(suite) if kind == "vm" else tree(suite)
    if not lower.exists():
        raise LabError(f"{name}: not built yet; make it with: lab.py build {'vm-' if kind == 'vm' else ''}{suite}")
    programs = {"boot": ["systemd-nspawn"], "vm": ["qemu-system-x86_64", "qemu-img"]}
    need("ip", "nsenter", "unshare", *programs.get(kind, ["sshd"] if suite == "host" else []))
    with inventory.locked():
        hosts = inventory.load()
        if name in hosts:
            raise LabError(f"{name} is up already")
        used = {h["address"] for h in hosts.values()}
        address = next(a for a in (f"{NET}.{i}" for i in range(11, 250)) if a not in used)
        home = LAB / name
        home.mkdir()
        command = ["sh", str(SCRIPTS / "loop.sh")]
        if kind == "ns":
            command = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child=SIGKILL"]
            command += ["--propagation", "private", "sh", str(SCRIPTS / "ns.sh")]
        command += [str(home), str(lower), name, address, str(os.getpid())]
        if kind == "vm":
            command = vm.command(name, lower, address)
        environment = dict(os.environ, DISK=spec.disk, BANNER=spec.banner)
        if flag == "pve":
            proxmox_mount.start(name, address)
            environment |= proxmox_mount.environment(name, suite)
        with (home / "log").open("w") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children[name] = child
        hosts[name] = {
            "address": address,
            "kind": kind,
            "suite": suite,
            "pve": flag == "pve",
            "pid": child.pid,
            "groups": list(spec.groups),
            "variables": dict(spec.variables),
        }
        inventory.save(hosts)


def wait(ok: Callable[[], bool], limit: float, message: str) -> None:
    """Wait until ``ok()``; LabError with the message after ``limit`` seconds."""
    end = time.monotonic() + limit
    while not ok():
        if time.monotonic() > end:
            raise LabError(message)
        time.sleep(0.02)


def log(name: str) -> str:
    """Return the end of what the host said while it started."""
    return (LAB / name / "log").read_text(errors="replace")[-3000:]


def ready(name: str, limit: float = 0) -> None:
    """Wait until the host's sshd answers; LabError with the host's log if it dies or takes too long.

    ``limit`` is in seconds; 0: 60, or what a virtual machine may take.
    """
    host = inventory.load()[name]
    limit = limit or (vm.BOOT_LIMIT if host["kind"] == "vm" else 60)

    def banner() -> bool:
        try:
            alive = Path(f"/proc/{host['pid']}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            alive = False
        if not alive:
            raise LabError(f"{name} died while it started:\n{log(name)}")
        with suppress(OSError), socket.create_connection((host["address"], 22), 1) as s:
            return s.recv(4) == b"SSH-"
        return False

    wait(banner, limit, f"{name}: sshd did not answer within {limit:.0f} s:\n{log(name)}")


def descendants(pid: int) -> list[int]:
    """Return the process and all below it, parents first."""
    found = [pid]
    for p in found:
        try:  # a process, or a thread of it, may end while it is looked at
            tasks = list(Path(f"/proc/{p}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            with suppress(OSError):
                found += [int(c) for c in (task / "children").read_text().split()]
    return found


def leader(name: str) -> int:
    """Return the process that is number 1 inside the host."""
    for pid in descendants(inventory.load()[name]["pid"])[1:]:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            if status.partition("NSpid:")[2].split("\n")[0].split()[1:][-1:] == ["1"]:
                return pid
    raise LabError(f"{name} has no process 1; it is going down or coming up")


def inside(name: str, *command: object, forking: bool = True) -> list[str]:
    """Return the command line that runs ``command`` inside the host, past its sshd.

    With ``forking=False`` the process is in the host's other namespaces but not in that of its processes: nsenter
    need not fork for it then, and killing nsenter kills it. A virtual machine is entered by a serial port: the command
    has no terminal, and what it prints comes when it has ended.
    """
    if inventory.load()[name]["kind"] == "vm":
        return vm.inside(name, *command)
    spaces = ["--mount", "--net", "--uts", *(["--pid"] if forking else [])]
    return ["nsenter", f"--target={leader(name)}", *spaces, *(str(c) for c in command)]


def run(name: str, *command: object, **options: str) -> str:
    """Run a command inside the host and return what it printed; LabError when it fails."""
    given = {} if "input" in options else {"stdin": subprocess.DEVNULL}  # never the terminal of whoever runs the tests
    return sh(*inside(name, *command), **options, **given).stdout


def script(name: str, text: str) -> str:
    """Run a shell script inside the host; it stops at the first command that fails."""
    return run(name, "sh", "-e", input=text)


def sweep(pattern: str) -> bool:
    """Remove the control groups of hosts that are gone; False while one still has processes."""
    clean = True
    for group in (g for top in CGROUPS for g in Path(top).glob(pattern)):
        try:
            parts = [Path(d) for d, _, _ in os.walk(group, topdown=False)]
            if any((d / "cgroup.procs").read_text() for d in parts):
                clean = False  # a live host, perhaps of another PID namespace
                continue
            for d in parts:
                d.rmdir()
        except OSError:
            clean = False
    return clean


def stop(*names: str) -> None:
    """Stop hosts and remove what belongs to them; unknown names are ignored."""
    with inventory.locked():
        hosts = inventory.load()
        gone = {n: hosts.pop(n) for n in names if n in hosts}
        for host in gone.values():
            for pid in descendants(host["pid"]):  # process 1 of a container leads a session of its own
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for name in gone:
            if child := _children.pop(name, None):
                child.wait()
            # the kernel takes namespaces apart later, on a busy machine by 20 s: remove the link by name
            subprocess.run(["ip", "link", "del", f"lx-{name}"], check=False, capture_output=True)
            shutil.rmtree(LAB / name, ignore_errors=True)
            proxmox_mount.stop(name)
            group = f"{os.environ['LAB_ID']}-{name}"
            wait(lambda group=group: sweep(group), 20, f"{name}: its processes do not end")  # type: ignore[misc]
        inventory.save(hosts)


@contextmanager
def up(specs: Mapping[str, Spec]) -> Iterator[list[str]]:
    """Start hosts side by side, wait for all of them, and stop them at the end."""
    setup()
    try:
        for name, spec in specs.items():
            start(name, spec)
        for name in specs:
            ready(name)
        yield list(specs)
    finally:
        stop(*specs)


def teardown() -> None:
    """Remove the bridge and LAB_DIR, when the last host of ``lab.py down`` is gone."""
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)
    if os.environ["LAB_ID"] == "lab-0":  # in a world LAB_DIR is a mount that goes with it
        shutil.rmtree(LAB)
