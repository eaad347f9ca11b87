"""Questions to the network that need packets: handshakes, path MTU, ARP, TLS and DNS.

``hostaudit-agent.pyz probe TASK`` does what one JSON document says, and answers with one. A key of the task is a module
of this package, its value is what that module's ``perform`` takes; the answer has the same keys. What could not be done
is in ``errors`` with the reason. Packets go to the addresses of the task and nowhere else.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("tcp", "arp", "mtu", "tls", "dns")


def perform(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the task says, one kind after the other. Raises nothing: what fails is in ``errors``."""
    answer: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for kind in KINDS:
        if kind not in task:
            continue
        try:
            answer[kind] = import_module("hostaudit_agent.probe." + kind).perform(task[kind])
        except PermissionError as problem:
            errors[kind] = f"{problem.strerror or problem}; it needs root (CAP_NET_RAW)"
        except OSError as problem:
            errors[kind] = problem.strerror or str(problem)
        except Exception as bug:  # noqa: BLE001 - one kind's failure must not cost the others
            errors[kind] = f"bug in the agent: {type(bug).__name__}: {bug}"
    return {**answer, "errors": errors}


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    try:
        task = json.loads(arguments[0])
    except (IndexError, ValueError):
        task = None
    if not isinstance(task, dict):
        sys.stderr.write("hostaudit-agent: probe takes one JSON object; `hostaudit probe` of the controller makes it\n")
        return 2
    sys.stdout.write(json.dumps(perform(task), default=vars, separators=(",", ":")) + "\n")
    return 0
