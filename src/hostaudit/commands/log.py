"""``hostaudit log``: the journal, and whether it is what was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.changing import journal_option
from hostaudit.commands.options import VARIABLES
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.journal import Entry, Journal

BROKEN = 1
QUIET_STEPS = frozenset({"begin"})


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
@click.option(
    "--format",
    "format_",
    envvar="HOSTAUDIT_FORMAT",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one entry a line.",
)
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
    from hostaudit.journal import Head

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
        emit(
            f"{'sound' if verdict.ok else 'BROKEN'}: {verdict.reason}\n"
            + (f"head {verdict.head}\n" if verdict.head else "")
        )
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
    for entry in found:
        emit(as_json(entry) if options["format_"] == "json" else line(entry))
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


def line(entry: Entry) -> str:
    """Return an entry as a line for people."""
    from hostaudit import border

    who = f"{entry.actor.user}@{entry.actor.machine}"
    parts = [f"{entry.time:%Y-%m-%d %H:%M:%S}Z", entry.id[:8], str(entry.kind), entry.change, who, what(entry)]
    return border.text("  ".join(part for part in parts if part)) + "\n"


def what(entry: Entry) -> str:
    """Return what an entry says, in short."""
    payload = entry.payload
    said: list[str] = []
    if entry.kind == "change-begin":
        said.append(f"{payload.get('action', '')} {payload.get('role', '')} on {', '.join(payload.get('hosts', []))}")
    elif entry.kind == "change-end":
        states = {name: one.get("state", "") for name, one in payload.get("hosts", {}).items()}
        said.append(f"{payload.get('outcome', '')}: " + ", ".join(f"{n} {s}" for n, s in states.items()))
    elif entry.kind == "step":
        where = entry.host or ", ".join(payload.get("hosts", []))
        state = payload.get("state") or payload.get("phase", "")
        said.append(f"{payload.get('step', '')} {state} {where}")
        said += [f"{n}: {w}" for n, w in (payload.get("bad") or {}).items()]
        said += [str(payload[k]) for k in ("detail", "taken_back") if payload.get(k)]
    else:
        said += [f"{k} {payload[k]}" for k in ("of", "fleet", "window") if payload.get(k)]
    if entry.reason:
        said.append(f"reason: {entry.reason}")
    if entry.ticket:
        said.append(entry.ticket)
    return "; ".join(said)
