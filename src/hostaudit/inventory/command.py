"""Ansible's own commands, run from this program's environment. Ansible is a command here, never a library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hostaudit.errors import InventoryError
from hostaudit.failures import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT = 300
"""Seconds. A dynamic inventory may ask a slow cloud; it may not hang for ever."""

SETTINGS = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "ANSIBLE_LOG_PATH": os.devnull,  # variables hold passwords; log_path of ansible.cfg would keep them
    # A source, or one file of a directory, that cannot be parsed is a warning by default: hosts would be missing.
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
}

_MESSAGE = re.compile(
    r"^\[(WARNING|ERROR)\]: (.*?)(?=^\[(?:WARNING|ERROR|DEPRECATION WARNING)\]: |\Z)", re.MULTILINE | re.DOTALL
)


def run(command: str, arguments: Sequence[str], settings: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run ``ansible-<command>`` and return its exit code, stdout and stderr.

    It is started as a module of this interpreter: under cron there is no ``ansible-inventory`` in PATH, and what a
    user has there may be another version. Raises InventoryError when it does not start or does not end.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ansible", command, *arguments],
            env=_environment(settings or {}),
            cwd=_directory(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InventoryError(
            f"ansible-{command} did not end within {TIMEOUT} s; run it by hand to see which source is slow"
        ) from None
    except OSError as problem:
        raise InventoryError(f"ansible-{command} could not be started: {problem}") from None
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def messages(stderr: str) -> list[tuple[str, str]]:
    """Return what Ansible said: (``WARNING`` or ``ERROR``, its first paragraph with where it comes from)."""
    said: list[tuple[str, str]] = []
    for match in _MESSAGE.finditer(stderr):
        text = match[2]
        first = " ".join(text.split("\n\n")[0].split())
        origins: list[str] = re.findall(r"^Origin: (\S.*)$", text, re.MULTILINE)
        places = [o for o in origins if not o.startswith("<")]
        if places and places[-1] not in first:
            first += f" ({places[-1]})"
        said.append((match[1], first))
    return said


def complaint(stderr: str) -> str:
    """Return what a failed command complained about, on one line; empty where it said nothing."""
    said = list(dict.fromkeys(text for _, text in messages(stderr)))
    return excerpt("; ".join(said), 600) if said else excerpt(stderr, 600)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, **SETTINGS, **settings}
    # Inventory scripts expect their own Python's tools first; sys.prefix/bin is not in cron's PATH.
    own = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join((own, environment.get("PATH") or os.defpath))
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    if "utf-8" not in locale.lower() and "utf8" not in locale.lower():
        environment["LC_ALL"] = "C.UTF-8"  # Ansible refuses to start in any other, and cron has none
    return environment


def _directory() -> str | None:
    """Return where to run: here, as for ansible.cfg; ``/`` where this directory was removed."""
    try:
        Path.cwd()
    except OSError:
        return "/"
    return None
