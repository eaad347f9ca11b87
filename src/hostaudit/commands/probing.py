"""What the kinds of ``hostaudit probe`` share: vantage points, watching, the report and the exit code."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit import __version__
from hostaudit.audit import stamp
from hostaudit.commands.auditing import UNREACHABLE, style
from hostaudit.commands.options import reading_options
from hostaudit.commands.run import FINDINGS
from hostaudit.commands.stdout import emit
from hostaudit.errors import InventoryError, UsageError
from hostaudit.probe import say
from hostaudit.probe.vantage import From
from hostaudit.probed import HERE, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.model import Collected, Host
    from hostaudit.probed import Probes

SHORTEST = 1.0
"""Seconds between the beginnings of two rounds of a standing probe, at least."""


def probe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all kinds of probe have."""
    options = [
        click.option(
            "--from",
            "from_",
            multiple=True,
            metavar="HOST|GROUP|here",
            help="Ask from these hosts of the inventory, through the agent; may be repeated. [default: here]",
        ),
        click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True),
        click.option("--watch", is_flag=True, help="Probe again and again, until --rounds, --for or an interrupt."),
        click.option(
            "--pause",
            type=click.FloatRange(SHORTEST),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="With --watch: from the beginning of a round to the next.",
        ),
        click.option("--rounds", type=click.IntRange(1), metavar="N", help="With --watch: stop after so many rounds."),
        click.option(
            "--for",
            "for_",
            type=click.FloatRange(1),
            metavar="SECONDS",
            help="With --watch: begin no round later than that.",
        ),
        click.option(
            "--history",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Add each round to this file, a line of JSON.",
        ),
        click.option(
            "--textfile",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Write Prometheus metrics there, for the textfile collector.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            help="Show the strip of every target, and all of it: a character for each try.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No notices on stderr."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def sources(options: Mapping[str, Any]) -> tuple[From, list[Host]]:
    """Return where to ask from, and all hosts of the inventory (whose variables name targets).

    Raises UsageError or InventoryError.
    """
    from hostaudit import inventory
    from hostaudit.login import Flags

    notice = notices(options)
    chosen = named(options["from_"], options, notice)
    everything: list[Host] = []
    configured = Flags()
    if options["inventory"]:
        everything, configured = inventory.chosen(options, notice)
    return From(tuple(chosen), here(options["from_"]), reading_options(options, configured), notice), everything


def notices(options: Mapping[str, Any]) -> Callable[[str], None]:
    """Return what says a sentence on stderr, where ``--quiet`` was not given."""

    def notice(text: str) -> None:
        if not options["quiet"]:
            click.echo(f"hostaudit: {text}", err=True)

    return notice


def here(patterns: Sequence[str]) -> bool:
    """Say whether this machine is one of the vantage points: it is named, or nothing is."""
    return HERE in patterns or not patterns


def named(
    patterns: Sequence[str], options: Mapping[str, Any], notice: Callable[[str], None], option: str = "--from"
) -> list[Host]:
    """Return the hosts among the vantage points. Raises UsageError or InventoryError."""
    from hostaudit import inventory

    away = [pattern for pattern in patterns if pattern != HERE]
    if not away:
        return []
    if not options["inventory"]:
        raise UsageError(f"{option} {away[0]}: needs the inventory that names it; add -i INVENTORY")
    limit = ",".join(away) + (f":&{options['limit']}" if options["limit"] else "")
    try:
        return inventory.load(
            options["inventory"],
            limit=limit,
            extra_vars=options["extra_vars"],
            vault_password_file=options["vault_password_file"],
            notice=notice,
        )
    except InventoryError as error:  # it was another option that the user gave
        raise InventoryError(str(error).replace("--limit", option)) from error


def links(where: From) -> list[Collected]:
    """Read the hosts among the vantage points, for their interfaces; those that cannot be read are left out."""
    from hostaudit.bundle import build
    from hostaudit.collect import collect
    from hostaudit.model import Collected

    if not where.hosts:
        return []
    options = replace(where.options, interval=0.0, run_timeout=None)
    return [one for one in collect(where.hosts, build(), options, notice=where.notice) if isinstance(one, Collected)]


def probed(options: Mapping[str, Any], probe: Callable[[], Probes]) -> int:
    """Probe, once or again and again; print each round; return the exit code of the worst."""
    if not options["watch"] and (options["rounds"] or options["for_"]):
        raise UsageError("--rounds and --for belong to --watch; add it, or leave them out")
    code, rounds, began = 0, 0, time.monotonic()
    while True:
        rounds += 1
        next_ = time.monotonic() + options["pause"]
        code |= _round(options, probe)
        over = options["for_"] and next_ - began > options["for_"]
        if not options["watch"] or over or rounds == options["rounds"]:
            return code
        time.sleep(max(0.0, next_ - time.monotonic()))


def _round(options: Mapping[str, Any], probe: Callable[[], Probes]) -> int:
    from hostaudit.probe import table, watch

    started = datetime.now(UTC)
    seen = probe()
    finished = datetime.now(UTC)
    document = table.document(seen, stamp(started), stamp(finished), __version__)
    if options["history"]:
        watch.append(Path(options["history"]), document)
    if options["textfile"]:
        watch.write_textfile(Path(options["textfile"]), seen, finished.timestamp())
    if options["format_"] == "json":  # a line for each round of a standing probe
        emit(json.dumps(document, indent=None if options["watch"] else 1, ensure_ascii=False) + "\n")
    else:
        head = f"{stamp(started)}\n" if options["watch"] else ""
        emit(head + table.render(seen, style(options)) + ("\n" if options["watch"] else ""))
    return exit_code(seen)


def exit_code(probes: Probes) -> int:
    """Return the bits: 4 a vantage point could not ask, 8 something fails."""
    probes = probes.reached()
    told = [
        *(None if s.verdict is Verdict.UNTRIED else s.verdict is Verdict.OK for s in probes.tcp),
        *(None if one.mine else say.arp(one)[0] for one in probes.arp if not one.mine),
        *(say.mtu(one)[0] for one in probes.mtu),
        *(say.tls(one)[0] for one in probes.tls),
        *(say.dns(one)[0] for one in probes.dns),
    ]
    code = UNREACHABLE if None in told or any(v.status != "ok" for v in probes.vantages) else 0
    return code | (FINDINGS if False in told else 0)
