"""What the commands that begin with an audit share: options, policy, answers of the hosts, the run made from them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit import report
from hostaudit.checks import all_checks
from hostaudit.commands.options import collect_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import InventoryError, PolicyError
from hostaudit.model import Status
from hostaudit.policy import Policy, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hostaudit.audit import Answer
    from hostaudit.commands.shortprobe import Short
    from hostaudit.model import Host, Run
    from hostaudit.probed import Probes

INTERNAL = 1
UNREACHABLE = 4


@dataclass(frozen=True)
class Audited:
    """A run, and what it was made from."""

    run: Run
    answers: list[Answer]
    outside: tuple[Host, ...] = ()
    """Hosts of the file given with --from that --limit leaves out."""
    probes: Probes | None = None
    """What ``--probe`` saw."""


def judging_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how hosts are read and judged."""
    return _with(
        function,
        click.option(
            "--interval",
            type=click.FloatRange(0, 3600),
            default=3,
            show_default=True,
            metavar="SECONDS",
            help="Time between the two samples of the counters; 0: one sample, so nothing can be active. From 60 on "
            "TCP's retransmissions are read once a second meanwhile, to find those that come in beats.",
        ),
        click.option("--all-netns", is_flag=True, help="Read the other network namespaces of each host too."),
        click.option(
            "--census", is_flag=True, help="Count conntrack entries by state, also where the table is not half full."
        ),
        click.option("--only", multiple=True, metavar="CHECK", help="Run this check only; may be repeated."),
        click.option(
            "--policy",
            type=click.Path(exists=True, dir_okay=False),
            help="Profile, thresholds and waivers. [default: ./hostaudit.toml, if there]",
        ),
    )


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where answers come from, and how much is said meanwhile."""
    return _with(
        function,
        click.option(
            "--from",
            "from_",
            envvar="HOSTAUDIT_FROM",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Judge answers kept with --save; reads no host.",
        ),
        click.option("--list-hosts", is_flag=True, help="Print the hosts that would be read, and stop."),
        click.option("-v", "--verbose", count=True, help="More detail in the table."),
        click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
    )


def _with(function: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def audited(options: Mapping[str, Any], save: str | None = None) -> Audited | None:
    """Read the hosts, or the file that --from names, and judge; ``None`` when only names were asked for."""
    from hostaudit import audit

    audit.chosen(options["only"])  # a misspelt check is said before forty hosts are read
    request = audit.Request(policy(options["policy"]), tuple(options["only"]))
    started = datetime.now(UTC)
    outside: tuple[Host, ...] = ()
    short: Short | None = None
    if options["from_"]:
        from hostaudit.archive import load

        answers, started = load(Path(options["from_"]))
        answers, outside = _limited(answers, options)
        if options["list_hosts"]:
            emit("".join(f"{answer.host.name}\n" for answer in answers))
            return None
    else:
        read = _read(options)
        if read is None:
            return None
        answers, short = read
    if save:
        from hostaudit.archive import save as keep

        keep(Path(save), answers, started)
    seen = None
    if short:
        from hostaudit.commands.shortprobe import sent

        seen = sent(short, answers)
    return Audited(audit.judged(answers, request, started, seen), answers, outside, seen)


def policy(given: str | None) -> Policy:
    """Return the policy of a file, by default ./hostaudit.toml if it is there. Raises PolicyError."""
    path = Path(given or "hostaudit.toml")
    if given is None and not path.exists():
        return Policy()
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(document, {c.id: c.thresholds for c in all_checks().values()}, str(path), text)


def style(options: Mapping[str, Any], show: Sequence[str] = ()) -> report.Style:
    """Return how a report looks on this stdout; ``show`` adds statuses to failures and unknowns."""
    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((80, 24)).columns if terminal or os.environ.get("COLUMNS") else 80
    shown = frozenset({Status.FAIL, Status.UNKNOWN, *(Status(s) for s in show)})
    return report.Style(shown, max(40, min(width, 120)), colour, options["verbose"])


def _read(options: Mapping[str, Any]) -> tuple[list[Answer], Short | None] | None:
    """Collect from the inventory's hosts; ``None`` when only their names were asked for.

    What ``--probe`` would send is made out before: what is wrong with it must not cost the answers of forty hosts.
    """
    from hostaudit import audit, inventory
    from hostaudit.progress import Progress

    with Progress(quiet=options["quiet"], verbose=options["verbose"]) as progress:
        hosts, configured = inventory.chosen(options, progress.notice)
        if options["list_hosts"]:
            emit("".join(f"{host.name}\n" for host in hosts))
            return None
        settings = collect_options(options, configured)
        short = None
        if options.get("probe"):
            from hostaudit.commands.shortprobe import planned

            short = planned(options, hosts, settings)
        progress.expect(len(hosts))
        return audit.collected(hosts, settings, progress.done, progress.notice), short


def _limited(answers: list[Answer], options: Mapping[str, Any]) -> tuple[list[Answer], tuple[Host, ...]]:
    """Return the answers of hosts that --limit matches, and the other hosts.

    The pattern is Ansible's, so Ansible decides: on an inventory of the kept hosts and their groups.
    """
    limit = options["limit"]
    if not limit:
        return answers, ()
    from hostaudit import inventory

    hosts = [answer.host for answer in answers]
    groups: dict[str, dict[str, Any]] = {}
    for host in hosts:
        for group in host.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = None
    with tempfile.TemporaryDirectory(prefix="hostaudit-") as folder:
        file = Path(folder) / "hosts.json"
        file.write_text(json.dumps({"all": {"hosts": {h.name: None for h in hosts}, "children": groups}}), "utf-8")
        try:
            named = {host.name for host in inventory.load([str(file)], limit)}
        except InventoryError as error:
            raise InventoryError(str(error).replace(str(file), options["from_"])) from error
    return [a for a in answers if a.host.name in named], tuple(h for h in hosts if h.name not in named)
