"""The reports of apply, rollback and resume: a sheet for people, a document for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import msgspec

from hostaudit.apply.resume import State
from hostaudit.border import text as printable
from hostaudit.report._sheet import sheet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from hostaudit.change.outcome import ChangeOutcome, HostOutcome, Outcome
    from hostaudit.report import Style

TITLES = {"apply": "applied", "check": "would change", "resume": "resumed", "rollback": "put back"}
INDENT = 2
LOOKS = {
    State.CONFIRMED: "green",
    State.REVERTED: "yellow",
    State.SETTLING: "red",
    State.UNKNOWN: "red",
    State.UNTOUCHED: "dim",
}


def document(outcome: Outcome) -> str:
    """Return the outcome as JSON, schema ``hostaudit.changes/1``."""
    plain = msgspec.to_builtins(outcome)
    plain["changes"] = [{**c, "hosts": list(c["hosts"].values())} for c in plain["changes"]]
    plain["exit_code"] = outcome.exit_code
    return msgspec.json.format(msgspec.json.encode(plain), indent=1).decode() + "\n"


def render(outcome: Outcome, out: TextIO, style: Style, where: str = "") -> None:
    """Write each change with its hosts, and what to do next below it, ``style.width`` columns wide.

    ``where``: the options with which the next command reaches the same hosts.
    """
    if not outcome.changes:
        out.write("Nothing to do.\n")
        return
    with sheet(out, style) as console:
        for change in outcome.changes:
            _change(console, change, outcome.kind)
        _next(console, outcome, f" {where}" if where else "")


def _change(console: Console, change: ChangeOutcome, kind: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(_title(change, kind), style="bold")
    for names, host in _same(change.hosts.values()):
        state, look = (str(host.state), LOOKS[host.state]) if kind != "check" else _would(host)
        head = Text.assemble((printable(", ".join(names)), "bold"), "  ", (state, look))
        console.print(Padding(head, (0, 0, 0, INDENT)))
        for line in _lines(host, kind):
            console.print(Padding(Text(printable(line)), (0, 0, 0, 3 * INDENT)))
    console.print()


def _same(hosts: Iterable[HostOutcome]) -> list[tuple[list[str], HostOutcome]]:
    """Put hosts together that differ in nothing but their name, in the plan's order."""
    groups: dict[str, tuple[list[str], HostOutcome]] = {}
    for host in hosts:
        alike = repr((host.state, host.detail, host.checks, host.changed, host.knobs, host.taken_back))
        groups.setdefault(alike, ([], host))[0].append(host.host)
    return list(groups.values())


def _title(change: ChangeOutcome, kind: str) -> str:
    name = f"change {change.id}: " if change.id else ""
    how = TITLES[kind] if change.outcome == "done" else change.outcome
    how = "the window closed" if how == "window" else how
    return printable(f"{name}{change.role}: {how}")


def _would(host: HostOutcome) -> tuple[str, str]:
    if host.detail:
        return "failed", "red"
    return ("would change", "yellow") if host.changed else ("as wanted", "green")


def _lines(host: HostOutcome, kind: str) -> list[str]:
    """Return what there is to say about a host: settings and findings only where the change is in force."""
    lines = []
    if kind == "check":
        lines += [line for one in host.changed for line in one.splitlines()]
    elif host.state is State.CONFIRMED:
        lines += [f"{name}: {before} -> {now}" for name, (before, _then, now) in host.knobs.items()]
        lines += [f"{check}: {state}" for check, state in host.checks.items()]
    lines += [host.detail] if host.detail else []
    return [*lines, f"TAKEN BACK: {host.taken_back}"] if host.taken_back else lines


def _next(console: Console, outcome: Outcome, where: str) -> None:
    """Write why it ended early, and the commands that come next; those are not wrapped, so that they can be copied."""
    done = [c.id for c in outcome.changes if c.id and c.outcome == "done"]
    for change in outcome.changes:
        told = any(host.detail and host.detail in change.reason for host in change.hosts.values())
        if change.reason and not told and change.outcome not in ("done", "checked"):
            console.print(printable(f"{change.role}: {change.reason}"))
    if outcome.kind == "apply":
        for name in done:
            console.print(f"To undo: hostaudit rollback {name}{where}", soft_wrap=True)
    if any(c.outcome == "window" and c.left for c in outcome.changes):
        console.print(f"To go on in the next window: hostaudit apply --resume{where}", soft_wrap=True)
    if any(c.outcome == "unfinished" or any(h.state == "not known" for h in c.hosts.values()) for c in outcome.changes):
        console.print(f"Not every host is known to be at an end: hostaudit apply --resume{where}", soft_wrap=True)
