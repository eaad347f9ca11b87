"""Writes down what each run said: one line of JSON per run, in the file that MOLECULE_TOLD names.

    step     the playbook's name; ``check`` for converge.yml in check mode
    seconds  wall clock of the whole run
    failed   whether a task failed or a host could not be reached
    hosts    host -> seconds that its tasks took
    changed  host -> {name, diff} of all that was reported as changed: role, task and item; texts before and after

judge.yml compares these lines, and tools/molecule makes its table of them.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: told
type: aggregate
short_description: Writes down what each run said
description: One line of JSON per run, in the file that MOLECULE_TOLD names.
"""


class CallbackModule(CallbackBase):
    """The plugin; Ansible calls its methods."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "told"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.step = ""
        self.started: dict[tuple[str, str], float] = {}
        self.seconds: dict[str, float] = {}
        self.changed: dict[str, list[dict[str, Any]]] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Take the step's name from the playbook."""
        self.step = Path(playbook._file_name).stem  # noqa: SLF001 - there is no public name
        if self.step == "converge" and context.CLIARGS["check"]:
            self.step = "check"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Start this task's clock."""
        self.started[host.name, task._uuid] = time.monotonic()  # noqa: SLF001 - there is no public one

    def ended(self, result: Any) -> None:
        """Stop this task's clock."""
        host = result.host.name
        since = self.started.pop((host, result.task._uuid), None)  # noqa: SLF001 - as above
        self.seconds[host] = self.seconds.get(host, 0) + (time.monotonic() - since if since else 0)

    def note(self, result: Any, label: str) -> None:
        """Keep a reported change, with its texts before and after."""
        said = result.result
        if not said.get("changed"):
            return
        diffs = said.get("diff") or []
        texts = [(d.get("before"), d.get("after")) for d in ([diffs] if isinstance(diffs, dict) else diffs)]
        role = result.task._role  # noqa: SLF001 - there is no public one
        name = f"{role.get_name() + ': ' if role else ''}{result.task.name}{f' ({label})' if label else ''}"
        self.changed.setdefault(result.host.name, []).append({"name": name, "diff": texts})

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep a task without a loop; of a loop each item was kept already."""
        self.ended(result)
        if "results" not in result.result:
            self.note(result, "")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Keep one item of a loop."""
        self.note(result, str(result.result.get("_ansible_item_label", "")))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 - Ansible passes it
        """Count the time all the same."""
        self.ended(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Count the time all the same."""
        self.ended(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Count the time all the same."""
        self.ended(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the line."""
        if not (name := os.environ.get("MOLECULE_TOLD")):
            return
        line = {
            "step": self.step,
            "seconds": round(time.monotonic() - self.began, 2),
            "failed": bool(stats.failures or stats.dark),
            "hosts": {h: round(self.seconds.get(h, 0), 2) for h in sorted(stats.processed)},
            "changed": self.changed,
        }
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
