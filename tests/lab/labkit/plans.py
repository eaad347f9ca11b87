"""Plans for hosts of the lab: any role with any values, resting on facts that were read just now."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOSTAUDIT = Path(sys.executable).with_name("hostaudit")


def write_plan(
    to: Path,
    source: Path,
    role: str,
    variables: Mapping[str, Any],
    *,
    hosts: Sequence[str] = (),
    checks: Sequence[str] = (),
    seconds: int = 20,
) -> Path:
    """Read the hosts of an inventory and write a plan that sets one role's variables on each of them."""
    from hostaudit import inventory
    from hostaudit.bundle import build
    from hostaudit.collect import CollectOptions, collect
    from hostaudit.facts import take
    from hostaudit.knobs import moves
    from hostaudit.model import Collected, Plan, PlannedChange
    from hostaudit.planfile import save

    found, configured = inventory.read([str(source)])
    found = [h for h in found if h.name in hosts] if hosts else found
    changes = []
    for answer in collect(found, build(), CollectOptions(interval=0, configured=configured)):
        assert isinstance(answer, Collected), answer
        moved = moves(role, variables, answer.snapshot)
        assert not moved.refused, moved.refused
        facts, values = take(answer.snapshot, moved.facts)
        name = answer.host.name
        changes.append(
            PlannedChange(
                f"{name}/{role}", name, answer.host.cohort, tuple(checks), moved.owner, role, dict(variables),
                moved.knobs, seconds, seconds, "none", "read back", facts, values,
            )
        )  # fmt: skip
    save(to, Plan("lab-plan", "2026-01-01T00:00:00Z", "0", "", (str(source),), "", tuple(changes), ()))
    return to


@dataclass
class Done:
    """What a command of hostaudit did."""

    code: int
    document: dict[str, Any]
    stdout: str
    stderr: str

    @property
    def states(self) -> dict[str, str]:
        """Host -> state, of the last change that names it."""
        return {h["host"]: h["state"] for c in self.document["changes"] for h in c["hosts"]}

    @property
    def change(self) -> str:
        """Id of the first change."""
        return str(self.document["changes"][0]["id"])


def command(journal: Path, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Return the command line of hostaudit and its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "HOSTAUDIT_"))}
    environment |= {"HOSTAUDIT_JOURNAL": f"sqlite:///{journal}", "ANSIBLE_HOME": str(journal.parent / "ansible")}
    return [str(HOSTAUDIT), *(str(a) for a in arguments)], environment


def hostaudit(journal: Path, *arguments: object, limit: float = 300) -> Done:
    """Run hostaudit as a user would; a document on stdout is decoded."""
    line, environment = command(journal, *arguments)
    done = subprocess.run(
        line, check=False, capture_output=True, text=True, env=environment, timeout=limit, stdin=subprocess.DEVNULL
    )
    document = json.loads(done.stdout) if done.stdout.startswith("{") and "\n{" not in done.stdout else {}
    return Done(done.returncode, document, done.stdout, done.stderr)
