"""A small fleet for the edges towards hosts: one sshd on loopback, whose users stand for kinds of hosts.

It runs in a mount namespace of its own, with its own users, sudoers and /run: nothing of the machine is changed.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tempfile
import textwrap
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.collect import CollectOptions, collect
from hostaudit.model import Collected, Host, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SSHD = "/usr/sbin/sshd"
PYTHON = "/usr/bin/python3"
QUICK = CollectOptions(interval=0, connect_timeout=2, run_timeout=3)
PASSWORD = "correct horse"
OLD_PYTHON = next(iter(sorted(Path("~/.pyenv/versions").expanduser().glob("3.[5678].*/bin/python"))), None)

# What a user's login shell does; the hosts' differences are made of these.
SHELLS = {
    "plain": 'exec /bin/sh "$@"',
    "noisy": 'echo "Welcome to $HOSTNAME"; printf "\\033]0;title\\007"; echo warning >&2; /bin/sh "$@"; echo Bye',
    "garbage": 'head -c 5000 /dev/urandom; printf "\\033[2J\\302\\233x"; exit 3',
    "flood": "exec yes hello",
    "hang": "exec sleep 20",
    "nopython": 'PATH={dir}/empty exec /bin/sh "$@"',
    "oldpython": 'PATH={dir}/old exec /bin/sh "$@"',
    "newbeside": 'PATH={dir}/beside exec /bin/sh "$@"',
    "cut": '/bin/sh "$@" | head -c 3000; sleep 20',
    "nosudo": 'PATH={dir}/python exec /bin/sh "$@"',
    "nologin": 'echo "This account is currently not available."; exit 1',
}
SUDOERS = """\
Defaults !lecture, timestamp_timeout=0, logfile=/dev/null, !syslog
Defaults:sudotty requiretty
sudofree ALL=(ALL) NOPASSWD: ALL
sudopass ALL=(ALL) ALL
sudotty ALL=(ALL) NOPASSWD: ALL
nosudo ALL=(ALL) NOPASSWD: ALL
"""
USERS = {**{name: name for name in SHELLS}, **dict.fromkeys(("sudofree", "sudopass", "sudotty", "sudonot"), "plain")}


def _agent(main: str = "") -> bytes:
    """Return a zip application that answers like an agent; ``main`` runs before, with ``document`` to change."""
    source = textwrap.dedent("""\
        import json, os, sys
        document = {
            "agent": "0", "taken": 1.0, "interval": 0.0, "privileged": os.geteuid() == 0, "python": sys.version,
            "platform": {"hostname": " ".join(sys.argv[1:]), "kernel": "6.1"}, "schema": "hostaudit.snapshot/1",
        }
    """)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("helper.py", "VALUE = 7\n")
        archive.writestr("__main__.py", source + textwrap.dedent(main) + "\nprint(json.dumps(document))\n")
    return file.getvalue()


@pytest.fixture(scope="session")
def fake_agent() -> Callable[[str], bytes]:
    """Return what makes a small agent that answers with a snapshot; its source may change ``document`` first."""
    return _agent


@pytest.fixture
def agent() -> bytes:
    """Return an agent that answers at once."""
    return _agent()


@dataclass(frozen=True)
class Fleet:
    """Where the fleet is."""

    directory: Path
    port: int
    password: str = PASSWORD
    """Of every user but root."""
    python: str = PYTHON
    """One that every user may run."""
    old_python: Path | None = OLD_PYTHON

    def host(self, user: str = "root", number: int = 1, **variables: Any) -> Host:
        """Return a host of its own address, with strict host keys, that is logged in to as ``user``."""
        given = {
            "ansible_host": f"127.77.0.{number}",
            "ansible_port": self.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.directory / "id"),
            "ansible_ssh_common_args": f"-F {self.directory / 'config'}",
        }
        return Host(f"{user}{number}", ("fleet",), {**given, **variables})

    @staticmethod
    def collected(host: Host, agent: bytes, options: CollectOptions = QUICK) -> Collected:
        """Read one host that has to answer."""
        (result,) = collect([host], agent, options)
        assert isinstance(result, Collected), result
        return result

    @staticmethod
    def unreachable(host: Host, agent: bytes, options: CollectOptions = QUICK) -> Unreachable:
        """Read one host that has to fail, with a reason that is fit to print."""
        (result,) = collect([host], agent, options)
        assert isinstance(result, Unreachable), result
        assert result.reason.isprintable()
        return result


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    if os.geteuid() != 0 or not Path(SSHD).exists():
        pytest.skip("needs root, and sshd at " + SSHD)
    directory = Path(tempfile.mkdtemp(prefix="hostaudit-fleet-", dir="/tmp"))
    directory.chmod(0o755)
    with socket.create_server(("127.77.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    _files(directory, port)
    script = textwrap.dedent(f"""\
        set -e
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir /run/sshd
        for f in passwd shadow group sudoers; do mount --bind {directory}/$f /etc/$f; done
        exec {SSHD} -D -e -f {directory}/sshd_config
    """)
    with (directory / "sshd.log").open("wb") as log:
        unshare = ["unshare", "--mount", "--propagation", "private"]
        sshd = subprocess.Popen([*unshare, "sh", "-c", script], stderr=log)
    try:
        _wait(port, directory / "sshd.log")
        yield Fleet(directory, port)
    finally:
        children = Path(f"/proc/{sshd.pid}/task/{sshd.pid}/children")
        sessions = [int(p) for p in children.read_text().split()] if children.exists() else []
        sshd.terminate()
        sshd.wait(5)
        for session in sessions:
            try:
                os.kill(session, 15)
            except ProcessLookupError:
                continue
        shutil.rmtree(directory)


def _wait(port: int, log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.77.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the fleet's sshd did not start: " + log.read_text())


def _key(path: Path, *options: str, passphrase: str = "") -> str:
    kind = options or ("-t", "ed25519")
    subprocess.run(["ssh-keygen", "-q", *kind, "-N", passphrase, "-C", path.name, "-f", path], check=True)
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def _files(directory: Path, port: int) -> None:
    """Write everything that the fleet and its clients read."""
    host_keys = {kind: _key(directory / f"host_{kind}", "-t", kind) for kind in ("ed25519", "ecdsa", "rsa")}
    own = _key(directory / "id")
    locked = _key(directory / "locked", passphrase="secret")
    other = _key(directory / "other")
    (directory / "authorized_keys").write_text(f"{own}\n{locked}\n")
    names = ",".join(f"[127.77.0.{n}]:{port}" for n in range(1, 60))
    (directory / "known_hosts").write_text(
        f"# comment\n{names} {host_keys['ed25519']}\n"
        f"[127.77.0.60]:{port} {other}\n"
        f"[127.77.0.61]:{port} {host_keys['rsa']}\n"
        f"@revoked [127.77.0.62]:{port} {host_keys['ed25519']}\n"
        f"@cert-authority [127.77.0.63]:{port} {other}\n"
    )
    (directory / "config").write_text(f"Host *\n  UserKnownHostsFile {directory}/known_hosts\n  IdentityAgent none\n")
    (directory / "sshd_config").write_text(
        f"ListenAddress 0.0.0.0:{port} rdomain lo\n"
        + "".join(f"HostKey {directory}/host_{kind}\n" for kind in host_keys)
        + f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\nPrintMotd no\n"
        "SetEnv SHLVL=2\n"
        "PasswordAuthentication yes\nPermitRootLogin yes\nMaxStartups 500\nPidFile none\nLogLevel ERROR\n"
    )
    for folder in ("empty", "old", "beside", "python"):
        (directory / folder).mkdir()
    if OLD_PYTHON:
        (directory / "old" / "python3").symlink_to(OLD_PYTHON)
        (directory / "beside" / "python3").symlink_to(OLD_PYTHON)
    (directory / "beside" / "python3.11").symlink_to(PYTHON)
    (directory / "python" / "python3").symlink_to(PYTHON)
    (directory / "python" / "id").symlink_to("/usr/bin/id")
    for name, body in SHELLS.items():
        shell = directory / f"shell-{name}"
        shell.write_text("#!/bin/sh\n" + body.format(dir=directory) + "\n")
        shell.chmod(0o755)
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True)
    passwd, shadow, group = (Path("/etc", f).read_text() for f in ("passwd", "shadow", "group"))
    for number, (name, shell_name) in enumerate(USERS.items(), 60000):
        # The shells that hand the old interpreter over run as root: /root is closed to others.
        uid = 0 if name in {"oldpython", "newbeside"} else number
        passwd += f"{name}:x:{uid}:60000::/:{directory}/shell-{shell_name}\n"
        shadow += f"{name}:{hashed.stdout.strip()}:19000:0:99999:7:::\n"
    for name, content, mode in (
        ("passwd", passwd, 0o644),
        ("shadow", shadow, 0o640),
        ("group", group + "fleet:x:60000:\n", 0o644),
        ("sudoers", SUDOERS, 0o440),
    ):
        (directory / name).write_text(content)
        (directory / name).chmod(mode)
