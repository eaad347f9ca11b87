"""``hostaudit paths``: which combinations of address and backend are asymmetric by design, and what that costs."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.auditing import UNREACHABLE, policy, style
from hostaudit.commands.options import VARIABLES, connection_options, reading_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hostaudit.trace.design import Combination
    from hostaudit.trace.fleet import Node

FAILING = 8
CHECK = "conntrack-invalid-drop"


@click.command("paths", context_settings=VARIABLES)
@connection_options
@click.option("--policy", type=click.Path(exists=True, dir_okay=False), help="Profile, thresholds and waivers.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    envvar="HOSTAUDIT_FORMAT",
    default="table",
    show_default=True,
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def command(**options: Any) -> int:
    """Predict, without traffic, what share of the connections to each virtual address fails, and why.

    A connection is asymmetric by design where requests go through the hypervisor of the guest that owns the address,
    and replies through that of another guest that serves it. It fails where one of the two drops packets that it calls
    INVALID. The share is told for today's filters, and for those that `hostaudit plan` would make. The inventory says
    who owns an address, who serves it and how it is forwarded; where guests run is read from the hypervisors.

    \b
      [hypervisors:vars]
      hostaudit_vips={'10.0.0.100': 'worker1'}
      hostaudit_backends={'10.0.0.100': 'worker1,worker2'}
      hostaudit_forwarding=dsr

    dsr: in a tunnel, the backend answers directly; dsr-l2: by MAC address, the backend answers directly; proxy: the
    answer comes back through the owner.

    Exit code: 0 none fails; 4 a host could not be read; 8 connections fail by design; 12 both; 2 bad options.
    """  # noqa: D301 - click takes the character: lines that stay as they are
    from hostaudit.trace import design

    nodes = _read(options)
    guests = _guests(nodes)
    planned = _planned(nodes, options["policy"])
    found = design.combinations(nodes, guests, planned)
    if not found:
        raise UsageError(
            "the inventory declares no virtual address; set hostaudit_vips={'10.0.0.100': 'GUEST'}, as "
            "`hostaudit paths --help` has it"
        )
    for one in found:
        if one.forwarding not in design.FORWARDING:
            names = ", ".join(design.FORWARDING)
            raise UsageError(f"hostaudit_forwarding of {one.vip}: {one.forwarding!r} is not known; there are {names}")
    if options["format_"] == "json":
        emit(json.dumps(design.document(found, nodes, planned), indent=2) + "\n")
    else:
        emit(_table(found, nodes, planned, style({**options, "verbose": 0}).width))
    code = UNREACHABLE if any(node.capture is None for node in nodes) else 0
    return code | (FAILING if any(one.lost_today not in {"", "?"} for one in found) else 0)


def _read(options: Mapping[str, Any]) -> list[Node]:
    from hostaudit import inventory, sensors
    from hostaudit.progress import Progress

    with Progress(quiet=options["quiet"], verbose=0) as progress:
        hosts, configured = inventory.chosen(options, progress.notice)
        nodes = sensors.read(hosts, reading_options(options, configured), progress.notice)
    return sorted(nodes, key=lambda node: node.name)


def _guests(nodes: Sequence[Node]) -> Any:
    from hostaudit.guestmap import guest_map
    from hostaudit.trace.design import answers

    return guest_map(answers(nodes))


def _planned(nodes: Sequence[Node], file: str | None) -> frozenset[str]:
    """Return the hosts for which a plan made now would propose to accept INVALID."""
    from hostaudit.checks import all_checks
    from hostaudit.evaluate import evaluate
    from hostaudit.trace.design import answers

    findings = evaluate(answers(nodes), policy(file), {CHECK: all_checks()[CHECK]})
    return frozenset(finding.host for finding in findings if finding.remedy is not None)


def _table(found: Sequence[Combination], nodes: Sequence[Node], planned: frozenset[str], width: int) -> str:
    from hostaudit.trace import design

    out: list[str] = []
    for vip, row in design.shares(found).items():
        parts = [f"{_share(row['asymmetric'])} asymmetric by design", f"{_share(row['lost_today'])} fail today"]
        parts.append(f"{_share(row['lost_planned'])} with the plan")
        out += textwrap.wrap(f"{vip}: {', '.join(parts)}", width)
        for one in (c for c in found if c.vip == vip):
            kind = "place not known" if not one.known else "asymmetric" if one.asymmetric else "symmetric"
            out.append(f"  {_share(one.share):>5}  {_ways(one)}: {kind}")
            if places := dict.fromkeys(
                g for g, at in ((one.owner, one.owner_at), (one.backend, one.backend_at)) if not at
            ):
                out.append(f"         set hostaudit_hypervisor for {', '.join(places)}")
            fate = "filters not known" if one.lost_today == "?" else one.lost_today
            out += textwrap.wrap(fate, width, initial_indent=" " * 9, subsequent_indent=" " * 9)
        out.append("")
    for node in nodes:
        said = design.drops(node)
        word = node.reason or ("not read" if said == "?" else f"drops INVALID in {said}" if said else "accepts INVALID")
        out += textwrap.wrap(f"{node.name}: {word}{'; the plan changes that' if node.name in planned else ''}", width)
    return "".join(f"{line.rstrip()}\n" for line in out)


def _ways(one: Combination) -> str:
    owner = f"{one.owner} on {one.owner_at or '?'}"
    if one.owner == one.backend:
        return f"{owner} serves it itself"
    return f"{owner} -> {one.backend} on {one.backend_at or '?'}, {one.forwarding}"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"
