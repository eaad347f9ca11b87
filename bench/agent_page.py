"""The agent's part of docs/benchmarks.md, from results-agent.json: ``agent_busy.py`` and ``agent_delivery.py``."""

from __future__ import annotations

import json
from typing import Any

from agent_busy import RESULTS
from measure import remark

HOST = """
## The agent on a busy host

One host (a network and a mount namespace) with {sockets:,} sockets, {links:,} interfaces, {rules:,} rules in legacy
iptables and as many in nf_tables, {entries:,} entries of connection tracking, {routes:,} routes and a BPF map of
{map:,} entries. Whole processes, the least CPU time of the rounds; the agent's rows include its start, which stands in
a row of its own. Peak memory is what the process had at most; the first 15 MiB are the benchmark's own, which starts
them.
"""
SURFACES = (
    "\nWhat each surface takes, both samples, CPU ms; the agent reads them in this order\n",
    "| surface | quiet | busy |",
    "| --- | --: | --: |",
)
BUDGETS = (
    "\nThe whole agent there, two samples, within budgets: what did not fit\n",
    "| `--budget` | CPU ms | peak MiB | answer, KiB | left unread |",
    "| --- | --: | --: | --: | --- |",
)
DELIVERY = """
## Bringing the agent to a host

{hosts} hosts, {forks} at a time, one sample; milliseconds of CPU time a host, medians of {rounds} rounds. *Far side* is
sshd, Python and the agent; *agent* is the agent's own share of it. *Streamed* is what is done.

| | KiB sent | controller | far side | agent |
| --- | --: | --: | --: | --: |"""


def section() -> str:
    """Return the part; empty where nothing was measured."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return (_busy(found["busy"]) if "busy" in found else "") + (_way(found["delivery"]) if "delivery" in found else "")


def _busy(found: dict[str, Any]) -> str:
    there, full = found["there"], found["full"]
    lines = [HOST.format(**there)]
    if there["entries"] < full["entries"]:
        lines.append(
            f"{full['entries']:,} entries are more than nf_conntrack_max of this machine allows, which belongs to the "
            f"machine and is not changed: as many as fit are counted."
        )
    for one in found["sections"]:
        base = next(iter(one["rows"].values()))["cpu_ms"]
        lines += [f"\n{one['title']}\n", "| | CPU ms | ratio | peak MiB |", "| --- | --: | --: | --: |"]
        lines += [
            f"| {f'**{name}**' if name.startswith('agent') else f'`{name}`'} | {row['cpu_ms']:.0f} "
            f"| {row['cpu_ms'] / base:.2f} | {row['peak_mib']:.0f} |"
            for name, row in one["rows"].items()
        ]
    if "surfaces" in found:
        lines += SURFACES
        costs = sorted(found["surfaces"].items(), key=lambda item: item[1][1])
        lines += [f"| {name} | {quiet:.1f} | {busy:.1f} |" for name, (quiet, busy) in costs]
    if "whole" in found:
        lines += BUDGETS
        lines += [
            f"| `{row['budget']}` | {row['cpu_ms']:.0f} | {row['peak_mib']:.0f} | {row['kib']} "
            f"| {', '.join(row['unread']) or 'nothing'} |"
            for row in found["whole"]
        ]
    return "\n".join(lines) + remark(found.get("others", 0)) + "\n"


def _way(found: dict[str, Any]) -> str:
    lines = [DELIVERY.format(**found)]
    lines += [
        f"| {row['way']} | {row['bytes'] / 1024:.0f} | {row['cpu_ms']:.1f} | {row['sshd_ms']:.0f} "
        f"| {row['agent_ms']:.0f} |"
        for row in found["rows"]
    ]
    lines.append("\n[Decision 13](decisions/0013-what-the-agent-costs.md) rests on this table.")
    return "\n".join(lines) + remark(found.get("others", 0)) + "\n"
