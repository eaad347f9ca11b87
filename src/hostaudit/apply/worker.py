"""A process of its own for ansible-runner: it forks a terminal, which a process with threads must not do.

One job comes as a line of JSON on stdin; stdin then stays open for as long as somebody wants the result. When it
ends, because the controller closed it or was killed, Ansible ends too: a play that goes on after its controller is
gone would change hosts that nobody watches, and whose guard may have ended. Events go to stdout, a line of JSON each.

    python -m hostaudit.apply.worker            the process that ``runner`` starts
    python -m hostaudit.apply.worker exec CMD   becomes CMD, and dies with its parent
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent ends. Linux only."""
GRACE = 5.0
"""Seconds for ansible-runner to end Ansible, where the kernel does not."""
EVENTS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_item_on_failed": "failed",
}
_TOLD = 4000
"""Characters of a message, or of a diff."""


def die_with_parent() -> bool:
    """Ask the kernel to kill this process when its parent ends; False where there is no such kernel."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        done: int = libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return done == 0


def told(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return what of an event of ansible-runner is passed on, ``None`` for nothing."""
    data = event.get("event_data") or {}
    kind = EVENTS.get(event.get("event", ""))
    if kind is None:
        return None
    result = data.get("res") or {}
    if kind == "ok" and result.get("changed"):
        kind = "changed"
    if kind == "failed" and data.get("ignore_errors"):
        return None
    said = result.get("stderr") or result.get("msg") or result.get("stdout") or ""
    return {
        "host": data.get("host", ""),
        "task": data.get("task", ""),
        "role": data.get("role", ""),
        "status": kind,
        "said": str(said)[:_TOLD],
        "diff": _diff(result) if kind == "changed" else "",
    }


def _diff(result: dict[str, Any]) -> str:
    """Return what changed, as text; loops have a result for each item."""
    parts = []
    for one in [result, *[r for r in result.get("results", []) if isinstance(r, dict)]]:
        diffs = one.get("diff") or []
        for diff in diffs if isinstance(diffs, list) else [diffs]:
            if isinstance(diff, dict) and "before" in diff:
                name = diff.get("after_header") or diff.get("before_header") or ""
                parts.append(f"{name}\n- {diff['before']}\n+ {diff.get('after', '')}".strip())
            elif isinstance(diff, dict) and diff.get("prepared"):
                parts.append(str(diff["prepared"]))
        label = one.get("_ansible_item_label")
        if one.get("changed") and label and not diffs:
            parts.append(str(label))
    return "\n".join(parts)[:_TOLD]


def say(document: dict[str, Any]) -> None:
    """Write one line; whoever reads it may be gone."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def run() -> int:
    """Take a job, run it, tell what happened."""
    job = json.loads(sys.stdin.readline())
    cancelled = threading.Event()

    def watch() -> None:
        """Wait for the end of stdin."""
        with suppress(OSError, ValueError):
            while sys.stdin.read(1):
                continue
        cancelled.set()
        threading.Event().wait(0.0 if sys.platform == "linux" else GRACE)
        os._exit(1)  # and with this process Ansible: see die_with_parent

    threading.Thread(target=watch, daemon=True).start()
    import ansible_runner

    stats: dict[str, Any] | None = None

    def handle(event: dict[str, Any]) -> bool:
        nonlocal stats
        if event.get("event") == "playbook_on_stats":
            data = event.get("event_data") or {}
            stats = {name: data.get(name) or {} for name in ("ok", "failures", "dark")}
        found = told(event)
        if found:
            say({"event": found})
        return False  # no file per event

    result = ansible_runner.run(
        private_data_dir=job["directory"],
        project_dir=job["project"],
        playbook=job["playbook"],
        cmdline=job["cmdline"],
        envvars=job["environment"],
        settings={"pexpect_timeout": 1, "job_timeout": job["seconds"], "suppress_ansible_output": True},
        event_handler=handle,
        cancel_callback=cancelled.is_set,
        quiet=True,
    )
    output = ""
    if stats is None:
        with suppress(OSError):
            output = Path(result.stdout.name).read_text(encoding="utf-8", errors="replace")[-_TOLD:]
    say({"end": {"status": result.status, "code": result.rc, "stats": stats, "output": output}})
    return 0


def main(arguments: list[str]) -> int:
    """Do one of the two things that this program is for."""
    if arguments[:1] == ["exec"]:
        parent = os.getppid()
        die_with_parent()
        if os.getppid() != parent:
            return 1  # it ended before the kernel was asked
        os.execvp(arguments[1], arguments[1:])  # noqa: S606 - there is nothing for a shell to do
    return run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
