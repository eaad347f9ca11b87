"""``hostaudit log``: the journal, and whether it is what was written."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.auditing import style
from hostaudit.commands.changing import format_option, journal_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hostaudit.journal import Entry, Journal

BROKEN = 1
SOME = 500
"""Entries that are written at once."""
INDENT = 4


@click.command("log", context_settings=VARIABLES)
@click.argument("what", required=False, type=click.Choice(["verify"]))
@click.option("--verify", is_flag=True, help="Check every entry's hash; the same as `hostaudit log verify`.")
@click.option("--head", metavar="SEQUENCE:HASH", help="With verify: an end of the journal that was kept elsewhere.")
@click.option("--change", metavar="ID", help="Entries of this change only.")
@click.option("--host", metavar="NAME", help="Entries about this host only.")
@click.option("--user", metavar="NAME", help="Entries of this person only.")
@click.option("--kind", multiple=True, metavar="KIND", help="Entries of this kind only; may be repeated.")
@click.option("--since", metavar="TIME", help="From this time on, as in 2026-11-21 or 2026-11-21T08:00; UTC.")
@click.option("--steps", is_flag=True, help="The steps of changes too, not only their begin and end.")
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="The newest N entries.")
@journal_option
@format_option("json: one entry a line.")
def command(**options: Any) -> int:
    """List who changed what, when, from where and why; oldest first.

    Exit code: 0; with verify 1 when the journal is not what was written.
    """
    from hostaudit.journal import Journal

    with Journal.open(options["journal"], readonly=True) as journal:
        if options["verify"] or options["what"] == "verify":
            return _verify(journal, options)
        return _list(journal, options)


def _verify(journal: Journal, options: Mapping[str, Any]) -> int:
    from hostaudit import border
    from hostaudit.journal import Head
    from hostaudit.report._sheet import sheet

    verdict = journal.verify(Head.parse(options["head"]) if options["head"] else None)
    if options["format_"] == "json":
        emit(
            json.dumps(
                {
                    "ok": verdict.ok,
                    "entries": verdict.entries,
                    "head": str(verdict.head),
                    "reason": verdict.reason,
                    "broken_at": verdict.broken_at,
                }
            )
            + "\n"
        )
    else:
        text = io.StringIO()
        with sheet(text, style({"verbose": 0})) as console:
            console.print(border.text(f"{'sound' if verdict.ok else 'BROKEN'}: {verdict.reason}"))
            if verdict.head:
                console.print(f"head {verdict.head}", soft_wrap=True)  # to be copied
        emit(text.getvalue())
    return 0 if verdict.ok else BROKEN


def _list(journal: Journal, options: Mapping[str, Any]) -> int:
    from hostaudit.journal import Kind

    kinds = options["kind"] or (() if options["steps"] or options["host"] else [k for k in Kind if k is not Kind.STEP])
    found = journal.entries(
        kinds=kinds,
        change=options["change"],
        host=options["host"],
        user=options["user"],
        since=_time(options["since"]),
        newest_first=bool(options["number"]),
    )
    if options["number"]:
        newest = [entry for entry, _ in zip(found, range(options["number"]), strict=False)]
        found = iter(reversed(newest))
    while some := list(islice(found, SOME)):
        emit("".join(map(as_json, some)) if options["format_"] == "json" else printed(some))
    return 0


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}: not a time; write 2026-11-21 or 2026-11-21T08:00") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def as_json(entry: Entry) -> str:
    """Return an entry as one line of JSON."""
    import msgspec

    return msgspec.json.encode(entry, order="sorted").decode() + "\n"


def printed(entries: Iterable[Entry], below: Sequence[str] = ()) -> str:
    """Return entries for people, as wide as the terminal: when and what kind, and indented below it what it says."""
    from rich.padding import Padding
    from rich.text import Text

    from hostaudit import border
    from hostaudit.report._sheet import sheet

    text = io.StringIO()
    with sheet(text, style({"verbose": 0})) as console:
        for entry in entries:
            kind = "" if entry.kind == "step" else border.text(str(entry.kind))
            parts = [f"{entry.time:%Y-%m-%d %H:%M:%S}Z", entry.id[:8], kind, border.text(entry.change)]
            lines = [border.text(said) for said in (*what(entry), *who(entry))]
            head = Text("  ".join(part for part in parts if part), style="bold")
            if entry.kind == "step" and lines and len(head) + 2 + len(lines[0]) <= console.width:
                head.append(f"  {lines.pop(0)}", style="not bold")
            console.print(head)
            for said in lines:
                console.print(Padding(Text(said), (0, 0, 0, INDENT)))
        if below:
            console.print()
        for said in below:
            console.print(Text(border.text(said)))
    return text.getvalue()


def who(entry: Entry) -> list[str]:
    """Return who did it and why; steps have their change's."""
    if entry.kind == "step":
        return []
    ticket = f", {entry.ticket}" if entry.ticket else ""
    reason = f": {entry.reason}" if entry.reason else ""
    return [f"by {entry.actor.user}@{entry.actor.machine}{ticket}{reason}"]


def what(entry: Entry) -> list[str]:
    """Return what an entry says, in short."""
    payload = entry.payload
    said: list[str] = []
    if entry.kind == "change-begin":
        said.append(f"{payload.get('action', '')} {payload.get('role', '')} on {', '.join(payload.get('hosts', []))}")
    elif entry.kind == "change-end":
        states: dict[str, list[str]] = {}
        for name, one in payload.get("hosts", {}).items():
            states.setdefault(one.get("state", ""), []).append(name)
        said.append(f"{payload.get('outcome', '')}: " + "; ".join(f"{', '.join(n)} {s}" for s, n in states.items()))
        said += [str(payload["why"])] if payload.get("why") else []
    elif entry.kind == "step":
        where = entry.host or ", ".join(payload.get("hosts", []))
        state = payload.get("state") or payload.get("phase", "")
        said.append(f"{payload.get('step', '')} {state} {where}")
        said += [f"{n}: {w}" for n, w in (payload.get("bad") or {}).items()]
        said += [str(payload[k]) for k in ("detail", "taken_back") if payload.get(k)]
    else:
        said += [f"{k} {payload[k]}" for k in ("of", "fleet", "window") if payload.get(k)]
    return said
