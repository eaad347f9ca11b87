"""Runs the collection's playbooks through ansible-runner, in a process of its own, and passes on what matters."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit import border
from hostaudit.errors import HostauditError
from hostaudit.failures import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


SETTINGS = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "ANSIBLE_LOG_PATH": os.devnull,  # variables hold passwords
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_PIPELINING": "1",  # no temporary files on the hosts, fewer round trips
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
}
KEEP_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
"""A host that reboots under Ansible hangs it for minutes otherwise."""
MULTIPLEX = "-C -o ControlMaster=auto -o ControlPersist=30s"
PASSWORD = "HOSTAUDIT_BECOME_SECRET"  # noqa: S105 - the name of a variable


class RunnerError(HostauditError):
    """Ansible did not run at all."""


class Event(msgspec.Struct, frozen=True):
    """A task on a host: ``changed``, ``failed``, ``unreachable`` or ``ok``."""

    host: str
    task: str
    status: str
    role: str = ""
    said: str = ""
    diff: str = ""


class _End(msgspec.Struct, frozen=True):
    status: str
    code: int | None = None
    stats: dict[str, dict[str, int]] | None = None
    output: str = ""


class _Line(msgspec.Struct, frozen=True):
    event: Event | None = None
    end: _End | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How Ansible is called, for all runs of a command; the user's own options and where they hold."""

    inventory: tuple[str, ...]
    forks: int = 20
    extra_vars: tuple[str, ...] = ()
    user: str = ""
    private_key: str = ""
    ssh_common_args: str = ""
    ssh_args: str = ""
    """Of ansible.cfg."""
    become: bool = False
    become_password: str = field(default="", repr=False)
    vault_password_file: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a play did: failed and unreachable hosts with the reason, changed tasks of each host."""

    failed: dict[str, str]
    events: tuple[Event, ...]
    seconds: float = 0.0

    def changed(self, host: str) -> list[Event]:
        """Return what changed on a host."""
        return [e for e in self.events if e.host == host and e.status == "changed"]


def playbooks() -> Path:
    """Return the folder of the collection: in the wheel, or beside ``src``."""
    inside = Path(str(resources.files("hostaudit") / "playbooks"))
    return inside if inside.is_dir() else Path(__file__).resolve().parents[3] / "playbooks"


def play(
    playbook: str,
    hosts: Sequence[str],
    extra: Mapping[str, str],
    settings: Settings,
    *flags: str,
    seconds: int,
    progress: Callable[[Event], object],
) -> Outcome:
    """Run a playbook on these hosts and return what happened. ``extra`` are variables, each a text of YAML.

    Raises RunnerError when Ansible did not run. Whatever ends this call early ends Ansible.
    """
    with tempfile.TemporaryDirectory(prefix="hostaudit-") as name:
        directory = Path(name)
        (directory / "hosts").write_text("\n".join(hosts) + "\n", encoding="utf-8")
        (directory / "vars.yml").write_text("".join(f"{k}: {v}\n" for k, v in extra.items()), encoding="utf-8")
        job = {
            "directory": str(directory),
            "project": str(_here()),
            "playbook": str(playbooks() / playbook),
            "cmdline": shlex.join([*_arguments(directory, settings), *flags]),
            "environment": _environment(directory, settings),
            "seconds": seconds,
        }
        return _watched(job, settings, progress)


def _watched(job: Mapping[str, Any], settings: Settings, progress: Callable[[Event], object]) -> Outcome:
    environment = {**os.environ, **job["environment"]}
    if settings.become_password:
        environment[PASSWORD] = settings.become_password
    process = subprocess.Popen(
        [sys.executable, "-m", "hostaudit.apply.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is the controller's to handle
    )
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - pipes were asked for
    events: list[Event] = []
    end: _End | None = None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            told = msgspec.json.decode(line, type=_Line)
            if told.event:
                event = _clean(told.event)
                events.append(event)
                progress(event)
            end = told.end or end
    except (BrokenPipeError, msgspec.DecodeError):
        end = None
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        complaint = process.stderr.read().decode("utf-8", "replace")
        process.stdout.close()
        process.stderr.close()
    if end is None or end.stats is None or end.status in ("canceled", "error"):
        why = excerpt((end.output if end else "") or complaint, 600) or "it said nothing"
        raise RunnerError(f"ansible-playbook did not run: {why}")
    return Outcome(_failed(end, events), tuple(events))


def _failed(end: _End, events: Sequence[Event]) -> dict[str, str]:
    """Return the hosts on which the play failed, with the last reason that was told."""
    stats = end.stats or {}
    bad = [*stats.get("failures", {}), *stats.get("dark", {})]
    reasons = {e.host: e.said or e.task for e in events if e.status in ("failed", "unreachable")}
    found = {host: reasons.get(host, "the play failed there") for host in dict.fromkeys(bad)}
    if end.status == "timeout":
        found |= {host: "the play did not end in time" for host in reasons if host not in found}
        found.setdefault("", "the play did not end in time")
    return found


def _clean(event: Event) -> Event:
    """Replace what could do something to a terminal."""
    diff = "\n".join(border.text(line) for line in event.diff.splitlines())
    return Event(border.text(event.host), event.task, event.status, event.role, excerpt(event.said, 600), diff)


def _here() -> Path:
    """Return where to run: here, so that relative paths and ./ansible.cfg are the user's."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _launcher(directory: Path) -> Path:
    """Write the command that becomes ansible-playbook and dies with its parent; return the folder for PATH."""
    command = [sys.executable, "-m", "hostaudit.apply.worker", "exec"]
    program = [*command, sys.executable, "-m", "ansible", "playbook"]
    file = directory / "bin" / "ansible-playbook"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n', encoding="utf-8")
    file.chmod(0o700)
    return file.parent


def _arguments(directory: Path, settings: Settings) -> list[str]:
    """Return ansible-playbook's arguments; ours come last, so that they hold."""
    given = [f"--inventory={source}" for source in settings.inventory]
    given += [f"--extra-vars={one}" for one in settings.extra_vars]
    given += [f"--extra-vars=@{directory}/vars.yml", f"--limit=@{directory}/hosts", f"--forks={settings.forks}"]
    given += [f"--user={settings.user}"] if settings.user else []
    given += [f"--private-key={settings.private_key}"] if settings.private_key else []
    given += [f"--ssh-common-args={settings.ssh_common_args}"] if settings.ssh_common_args else []
    given += [f"--vault-password-file={settings.vault_password_file}"] if settings.vault_password_file else []
    if settings.become_password:
        script = directory / "password"
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' \"${PASSWORD}\"\n", encoding="utf-8")  # none on the disk
        script.chmod(0o700)
        given.append(f"--become-password-file={script}")
    return given


def _environment(directory: Path, settings: Settings) -> dict[str, str]:
    own = str(Path(sys.executable).parent)
    found = SETTINGS | {
        "PATH": os.pathsep.join(
            (str(_launcher(directory)), own, os.environ.get("PATH") or os.defpath)
        ),  # cron's has neither
        "ANSIBLE_SSH_ARGS": f"{KEEP_ALIVE} {settings.ssh_args or MULTIPLEX}",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
    }
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    if "utf-8" not in locale.lower() and "utf8" not in locale.lower():
        found["LC_ALL"] = "C.UTF-8"  # Ansible starts in no other
    return found
