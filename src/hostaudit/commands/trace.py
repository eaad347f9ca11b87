"""``hostaudit trace``: every host listens while connections are made, and where they died is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.auditing import UNREACHABLE, style
from hostaudit.commands.options import VARIABLES, connection_options, exchange_options, reading_options
from hostaudit.commands.stdout import emit
from hostaudit.errors import UsageError

if TYPE_CHECKING:
    from hostaudit.collect import CollectOptions
    from hostaudit.login import Flags
    from hostaudit.trace.document import Trace

FAILING = 8


@click.command("trace", context_settings=VARIABLES)
@click.argument("target", metavar="VIP:PORT")
@connection_options
@click.option("--from", "from_", metavar="HOST|here", help="Connect from this host of the inventory. [default: here]")
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="Connections, each from a source port of its own.",
)
@click.option(
    "--every",
    "--interval",
    "every",
    type=click.FloatRange(0, 60),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="Between two connections; 0: all at once.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=2.5,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the SYN-ACK, and again for the end or the reply; above 1 s one retransmission is seen, "
    "above 3 s two.",
)
@exchange_options
@click.option(
    "--frames",
    type=click.IntRange(100, 40_000),
    metavar="N",
    help="Most frames that a host's sensor keeps, headers only. [default: 20000, or 40 for each connection]",
)
@click.option(
    "--queue",
    type=click.IntRange(1, 1 << 30),
    default=16 << 20,
    show_default=True,
    metavar="BYTES",
    help="Kernel memory of a host's sensor for frames that wait to be read.",
)
@click.option(
    "--pcap",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write what each host heard to DIR/HOST.pcapng, for Wireshark.",
)
@click.option(
    "--context",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the ways of the packets to FILE too, for `hostaudit report RUN --context FILE --html FILE`.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "html"]),
    envvar="HOSTAUDIT_FORMAT",
    default="table",
    show_default=True,
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def command(**options: Any) -> int:
    """Find in which host connections to VIP:PORT die.

    All hosts of the inventory listen at once while connections are made, from here or from one of them. For each
    connection it is told which ports of which hosts its SYN and its SYN-ACK went through, where the last of them was
    seen, and which rule dropped it there, with its counter.

    The sensors keep TCP headers of these connections only, and change nothing. They need root (CAP_NET_RAW, -b); a
    host where they may not listen is named, and the others go on. Packets are sent to VIP:PORT and nowhere else.

    \b
      hostaudit trace 10.0.0.100:443 -i inventory.ini -l hypervisors
      hostaudit trace 10.0.0.100:443 -i inventory.ini --from web1 --pcap captures

    Exit code: 0 all worked; 4 a host has no sensor; 8 connections failed; 12 both; 2 bad options or inventory.
    """  # noqa: D301 - click takes the character: lines that stay as they are
    from hostaudit.trace.document import document
    from hostaudit.trace.picture import page
    from hostaudit.trace.table import table
    from hostaudit.tracing import traced

    def collecting(configured: Flags) -> CollectOptions:
        return reading_options(options, configured)

    trace = traced({**options, "collecting": collecting})
    if options["pcap"]:
        _keep(Path(options["pcap"]), trace)
    if options["context"]:
        _write_context(Path(options["context"]), trace)
    if options["format_"] == "json":
        emit(json.dumps(document(trace), indent=2) + "\n")
    elif options["format_"] == "html":
        emit(page(trace))
    else:
        emit(table(trace, style({**options, "verbose": 0}).width))
    code = UNREACHABLE if any(node.deaf for node in trace.nodes) else 0
    return code | (0 if all(one.verdict.ok for one in trace.judged) and trace.judged else FAILING)


def _write_context(file: Path, trace: Trace) -> None:
    import msgspec

    from hostaudit.commands.alongside import of_trace

    try:
        file.write_bytes(msgspec.json.encode(of_trace(trace)) + b"\n")
    except OSError as problem:
        raise UsageError(f"--context {file}: cannot be written: {problem.strerror}") from problem


def _keep(folder: Path, trace: Trace) -> None:
    """Write one file per host; what host names may contain does not lead out of the folder."""
    from hostaudit.trace.pcapng import written

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for node in trace.nodes:
            if node.capture and node.capture.heard:
                name = node.name.replace("/", "_").lstrip(".") or "host"
                (folder / f"{name}.pcapng").write_bytes(written(node.capture.heard, node.name))
    except OSError as problem:
        raise UsageError(f"--pcap {folder}: cannot be written: {problem.strerror}") from problem
