"""The reports of apply, rollback and resume: a table for people, a document for machines."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TextIO

import msgspec

from hostaudit.apply.resume import State

if TYPE_CHECKING:
    from hostaudit.change.outcome import ChangeOutcome, HostOutcome, Outcome

TITLES = {"apply": "applied", "check": "would change", "resume": "resumed", "rollback": "put back"}


def document(outcome: Outcome) -> str:
    """Return the outcome as JSON, schema ``hostaudit.changes/1``."""
    plain = msgspec.to_builtins(outcome)
    plain["changes"] = [{**c, "hosts": list(c["hosts"].values())} for c in plain["changes"]]
    plain["exit_code"] = outcome.exit_code
    return msgspec.json.format(msgspec.json.encode(plain), indent=1).decode() + "\n"


def render(outcome: Outcome, out: TextIO, width: int = 100, *, colour: bool = False) -> None:
    """Write one table per change, and what to do next below it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    text = io.StringIO()
    console = Console(file=text, width=width, no_color=not colour, force_terminal=colour, highlight=False)
    if not outcome.changes:
        out.write("Nothing to do.\n")
        return
    for change in outcome.changes:
        console.print(Text(_title(change, outcome.kind), style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("host", "state", "settings", "findings", "remarks"):
            table.add_column(name, overflow="fold")
        for host in change.hosts.values():
            state = str(host.state) if outcome.kind != "check" else ("failed" if host.detail else "would change")
            if outcome.kind == "check" and not host.detail and not host.changed:
                state = "as wanted"
            table.add_row(*(Text(t) for t in (host.host, state, _knobs(host), _checks(host), _remarks(host))))
        console.print(table)
        if outcome.kind == "check":
            for host in change.hosts.values():
                for line in host.changed:
                    console.print(Text(f"{host.host}: {line}"))
        console.print()
    # rich fills its cells with blanks up to the width
    out.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
    _next(outcome, out)


def _title(change: ChangeOutcome, kind: str) -> str:
    name = f"change {change.id}: " if change.id else ""
    how = TITLES[kind] if change.outcome == "done" else change.outcome
    return f"{name}{change.role}: {how}"


def _knobs(host: HostOutcome) -> str:
    """Return what is changed there now; what went back is not."""
    if host.state is not State.CONFIRMED:
        return ""
    return "\n".join(f"{name}: {before} -> {now}" for name, (before, _then, now) in host.knobs.items())


def _checks(host: HostOutcome) -> str:
    if host.state is not State.CONFIRMED:
        return ""
    return "\n".join(f"{check}: {state}" for check, state in host.checks.items())


def _remarks(host: HostOutcome) -> str:
    taken = f"taken back: {host.taken_back}" if host.taken_back else ""
    return "\n".join(text for text in (host.detail, taken) if text)


def _next(outcome: Outcome, out: TextIO) -> None:
    """Write the commands that come next."""
    done = [c.id for c in outcome.changes if c.id and c.outcome == "done"]
    for change in outcome.changes:
        if change.reason and change.outcome != "done":
            out.write(f"{change.role}: {change.reason}\n")
    if outcome.kind == "apply" and done:
        out.write("To undo: " + "; ".join(f"hostaudit rollback {name}" for name in done) + "\n")
    if any(c.outcome == "unfinished" or any(h.state == "not known" for h in c.hosts.values()) for c in outcome.changes):
        out.write("Not every host is known to be at an end: hostaudit apply --resume\n")
