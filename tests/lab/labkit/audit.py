"""Run the installed ``hostaudit`` on hosts of the lab, as a user would."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import inventory
from labkit.settings import LAB

HOSTAUDIT = Path(sys.executable).with_name("hostaudit")


@dataclass
class Audit:
    """What one `hostaudit run` said."""

    code: int
    document: dict[str, Any]
    stderr: str
    seconds: float

    def failures(self, check: str = "", grade: str = "") -> list[dict[str, Any]]:
        """Failed findings, of one check or grade only where one is given."""
        failed = [f for f in self.document["findings"] if f["status"] == "fail"]
        return [f for f in failed if check in ("", f["check"]) and grade in ("", f["grade"])]

    def hosts(self, status: str) -> dict[str, str]:
        """Names of the hosts with this status, with the reason."""
        return {h["name"]: h["reason"] for h in self.document["hosts"] if h["status"] == status}


def run_hostaudit(source: Path, *options: str, limit: float = 120, inside: tuple[str, ...] = ()) -> Audit:
    """Audit the hosts of an inventory file, as a user would: the installed command, JSON on stdout.

    ``inside``: what runs the command, as ``ip netns exec NAME`` does.
    """
    command = [*inside, str(HOSTAUDIT), "run", "-i", str(source), "--format", "json", "--interval", "2", *options]
    began = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    assert done.returncode in (0, 4, 8, 12), f"exit code {done.returncode}\n{done.stderr}"
    return Audit(done.returncode, json.loads(done.stdout), done.stderr, seconds)


def write_inventory(
    to: Path,
    names: Iterable[str],
    variables: Mapping[str, Mapping[str, str]] | None = None,
    known: Path | None = None,
) -> Path:
    """Write an inventory of some running hosts; further variables per host, and another known_hosts where given."""
    running = inventory.load()
    given = variables or {}
    chosen = {n: running[n] | {"variables": {**running[n]["variables"], **given.get(n, {})}} for n in names}
    to.write_text(inventory.ini(chosen, known or LAB / "known_hosts"))
    return to
