"""What the page of benchmarks is made from: each part is measured by itself, and kept in results.json at once."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apply
import inventories
import judging
import namespaces
import transport
import trouble
from measure import interleaved, others

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results.json"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "0"))
"""0: three for each peer, two where a fleet is large or dear."""


def load() -> dict[str, Any]:
    """Return what was measured before."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def save(results: dict[str, Any]) -> None:
    """Keep what was measured."""
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def _fleets(results: dict[str, Any], counts: list[int]) -> None:
    with transport.environments() as folder:
        for count in counts:
            chosen = transport.affordable(count)
            busy = others()
            rows = transport.measure(count, ROUNDS or (2 if count > 300 else 3), chosen, folder)
            results.setdefault("transport", {})[str(count)] = {
                "rows": rows,
                "versions": transport.versions(chosen, folder),
                "others": busy,
            }
            save(results)


def _namespaces(results: dict[str, Any], counts: list[int]) -> None:
    with transport.environments() as folder:
        results["namespaces"] = {
            "hosts": min(max(counts), 100),
            **namespaces.measure(min(max(counts), 100), ROUNDS or 2, folder),
        }


def _in_trouble(results: dict[str, Any], counts: list[int]) -> None:
    results.setdefault("trouble", {})[str(max(counts))] = trouble.measure(max(counts))


def _judged(results: dict[str, Any], counts: list[int]) -> None:
    rows = judging.table(sorted({100, 1000, *counts}))
    results.setdefault("judging", {}).update({str(int(row["hosts"])): row for row in rows})


def _inventories(results: dict[str, Any], counts: list[int]) -> None:
    for count in counts:
        results.setdefault("inventories", {})[str(count)] = inventories.table(count)


def _changes(results: dict[str, Any], counts: list[int]) -> None:
    for count in counts:
        results.setdefault("apply", {})[str(count)] = apply.measure(count)


def _started(results: dict[str, Any], counts: list[int]) -> None:
    del counts
    bin_ = Path(sys.executable).parent
    run = [str(bin_ / "hostaudit"), "run", "--fail-on", "never", "--format", "json"]
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state  # these runs are nobody's history
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "hostaudit --help": [str(bin_ / "hostaudit"), "--help"],
            "hostaudit run, one sample, not stored": [*run, "--interval", "0", "--no-store"],
            "hostaudit run, two samples, stored": [*run, "--interval", "0.5"],
            "the agent alone, two samples": [*judging.agent_command(state), "--interval", "0.5"],
            "ansible --version": [str(bin_ / "ansible"), "--version"],
        }
        results["startup"] = {name: cost.cpu_ms for name, cost in interleaved(commands).items()}


PARTS: dict[str, tuple[Callable[[dict[str, Any], list[int]], None], list[int]]] = {
    "transport": (_fleets, []),
    "namespaces": (_namespaces, []),
    "trouble": (_in_trouble, []),
    "judging": (_judged, []),
    "inventories": (_inventories, [100, 1000]),
    "apply": (_changes, [12]),
    "startup": (_started, []),
}
"""What is measured, in this order, and with how many hosts where that is another number than BENCH_N."""


def measure(only: str, counts: list[int]) -> None:
    """Measure one part, or all of them; what is measured is kept at once."""
    results = load()
    for name, (part, usual) in PARTS.items():
        if only in ("", name):
            part(results, counts if only or not usual else usual)
            save(results)
