"""A fleet of SSH hosts on loopback, for benchmarks: one sshd answers for every address of 127.77.0.0/16.

All hosts share one kernel, file system and host key, so that a thousand of them cost one process. The sshd lives in a
mount namespace of its own with a private /run, and listens on loopback only; nothing of the machine's ssh is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SSHD = "/usr/sbin/sshd"
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Fleet:
    """Where the fleet is. ``folder`` holds ``id``, ``known_hosts`` (hashed), ``plain_hosts``, ``ssh_config``."""

    folder: Path
    port: int
    count: int
    pid: int

    @staticmethod
    def address(number: int) -> str:
        """Return the address of a host, from 0."""
        return f"127.77.{number // 250 + 1}.{number % 250 + 1}"

    def inventory(self, count: int | None = None) -> Path:
        """Write Ansible's inventory of the first hosts, named h0000 and so on."""
        path = self.folder / f"inventory-{count or self.count}.ini"
        hosts = "".join(f"h{n:04} ansible_host={self.address(n)}\n" for n in range(count or self.count))
        path.write_text(f"[fleet]\n{hosts}\n{group_variables(self.folder, self.port)}")
        return path

    def cpu(self) -> float:
        """Return the CPU seconds of sshd and of all its sessions that have ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def group_variables(folder: Path, port: int) -> str:
    """Return the variables of the inventory's group."""
    return (
        f"[fleet:vars]\nansible_port={port}\nansible_user=root\n"
        f"ansible_ssh_private_key_file={folder}/id\nansible_ssh_common_args=-F {folder}/ssh_config\n"
        f"ansible_python_interpreter={PYTHON}\n"
    )


def client_config(folder: Path, port: int) -> str:
    """Return the ssh_config of the controller: strict, one key, no agent."""
    return (
        f"Host *\n  Port {port}\n  User root\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
        f"  UpdateHostKeys no\n  BatchMode yes\n  PreferredAuthentications publickey\n  LogLevel ERROR\n"
    )


@contextmanager
def up(count: int) -> Iterator[Fleet]:
    """Start a fleet, and end it. Needs root, as sshd demands a directory below /run."""
    if os.geteuid() != 0 or not Path(SSHD).exists():
        message = f"needs root, and sshd at {SSHD}"
        raise RuntimeError(message)
    folder = Path(tempfile.mkdtemp(prefix="hostaudit-bench-"))
    folder.chmod(0o755)
    with socket.create_server(("127.77.1.1", 0)) as probe:
        port = probe.getsockname()[1]
    _files(folder, port, count)
    start = f"mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd && exec {SSHD} -D -e -f {folder}/sshd_config"
    with (folder / "sshd.log").open("wb") as log:
        sshd = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", start], stderr=log)
    try:
        _wait(port)
        yield Fleet(folder, port, count, sshd.pid)
    finally:
        sessions = Path(f"/proc/{sshd.pid}/task/{sshd.pid}/children").read_text().split()
        sshd.terminate()
        sshd.wait(10)
        for session in sessions:
            _end(int(session))
        shutil.rmtree(folder, ignore_errors=True)


def _end(pid: int) -> None:
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        return


def _wait(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.77.1.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    message = "the fleet's sshd did not start"
    raise RuntimeError(message)


def _files(folder: Path, port: int, count: int) -> None:
    for name in ("id", "host"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "authorized_keys").write_text((folder / "id.pub").read_text())
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    lines = "".join(f"[{Fleet.address(n)}]:{port} {key}\n" for n in range(count))
    listed = "".join(f"h{n:04} {Fleet.address(n)} {port}\n" for n in range(count))
    (folder / "hosts").write_text(listed)
    (folder / "plain_hosts").write_text(lines)
    (folder / "known_hosts").write_text(lines)
    # as HashKnownHosts writes them, Debian's default
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", folder / "known_hosts"], check=True, capture_output=True)
    (folder / "known_hosts.old").unlink()
    (folder / "ssh_config").write_text(client_config(folder, port))
    (folder / "sshd_config").write_text(
        f"ListenAddress 0.0.0.0:{port} rdomain lo\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"StrictModes no\nUsePAM no\nUseDNS no\nPrintMotd no\nPrintLastLog no\nSetEnv SHLVL=2\n"
        f"PermitRootLogin prohibit-password\nMaxStartups 2000\nPidFile none\nLogLevel ERROR\n"
    )
