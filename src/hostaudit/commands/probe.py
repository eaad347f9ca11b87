"""``hostaudit probe``: ask the network, from here or from hosts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostaudit.commands.options import VARIABLES, connection_options, exchange_options
from hostaudit.commands.probing import links, probe_options, probed, sources
from hostaudit.errors import UsageError
from hostaudit.probe import mtu as sizes
from hostaudit.probe import others, targets
from hostaudit.probe.tcp import Plan
from hostaudit.probe.tcp import probe as handshakes

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT = (
    "Exit code: 0 all is in order; 8 something fails; 4 a vantage point could not be reached, or could not tell; "
    "12 both; 2 bad options."
)
NO_VIPS = "the inventory names none: give targets, or declare hostaudit_vips=10.0.0.100:443 for a host or group"


@click.group("probe", context_settings=VARIABLES, epilog=EXIT)
def command() -> None:
    """Ask the network, from here or from hosts of the inventory: handshakes, path MTU, ARP, TLS, DNS.

    Packets are sent to the addresses that are named, and nowhere else; no host is changed.

    \b
      hostaudit probe tcp 10.0.0.100:443
      hostaudit probe tcp 10.0.0.100:443 -i inventory.ini --from workers
      hostaudit probe mtu -i inventory.ini --from hypervisors
      hostaudit probe dns shop.example --server system
    """  # noqa: D301 - click takes the character: lines that stay as they are


@command.command("tcp", short_help="Handshakes: all work, none does, or it depends on the path.", epilog=EXIT)
@click.argument("target", nargs=-1)
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=120,
    show_default=True,
    metavar="N",
    help="Connections to each address.",
)
@click.option(
    "--every",
    type=click.FloatRange(0.001, 60),
    default=0.15,
    show_default=True,
    metavar="SECONDS",
    help="Between two connections to an address.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the SYN-ACK, and again for the end or the reply.",
)
@click.option("--source-ports", metavar="A-B", default="61000-64999", show_default=True, help="Ports to connect from.")
@exchange_options
@probe_options
@connection_options
def tcp(**options: Any) -> int:
    """Try many handshakes with every address of each TARGET, NAME:PORT or ADDRESS:PORT.

    Without TARGET: those of the inventory, hostaudit_vips with a port and hostaudit_probes.

    A handshake counts when the end of the connection was acknowledged as well (or what --expect says has come), so that
    "connects, then hangs" is told from "does not connect". Verdicts: ok; path-dependent (some fail); down (all fail);
    untried. In a strip each character is a connection: . worked, x failed, ? could not be tried.
    """
    plan = Plan(
        options["count"],
        options["every"],
        options["wait"],
        _ports(options["source_ports"]),
        options["send"],
        options["expect"],
    )
    named = _typed(options["target"])
    where, hosts = sources(options)
    named = named or targets.declared(hosts)
    if not named:
        raise UsageError(f"no TARGET, and {NO_VIPS}")
    return probed(options, lambda: handshakes(named, plan, where))


@command.command("arp", short_help="Who answers for an address: nobody, one machine, or two.", epilog=EXIT)
@click.argument("address", nargs=-1)
@click.option(
    "--asks",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    metavar="N",
    help="How often each is asked; an owner that moves is seen in several.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=0.7,
    show_default=True,
    metavar="SECONDS",
    help="How long to listen for answers each time.",
)
@click.option(
    "--interface",
    default="",
    metavar="NAME",
    help="Ask on this interface. [default: where the route to the address leads]",
)
@probe_options
@connection_options
def arp(**options: Any) -> int:
    """Ask who answers ARP for each ADDRESS. Without ADDRESS: those of hostaudit_vips in the inventory.

    The questions are probes as in RFC 5227: they claim no address, so nobody who hears them learns a wrong one.

    Needs root where it is asked from (CAP_NET_RAW), and a vantage point on the address's own segment.
    """
    given = [targets.address(text) for text in options["address"]]
    where, hosts = sources(options)
    addresses = given or [targets.address(text, "hostaudit_vips") for text in targets.addresses(hosts)]
    if not addresses:
        raise UsageError(f"no ADDRESS, and {NO_VIPS}")
    asking = {"asks": options["asks"], "seconds": options["wait"], "interface": options["interface"]}
    return probed(options, lambda: others.arp(addresses, where, **asking))


@command.command("mtu", short_help="The largest packet that arrives; black holes above it.", epilog=EXIT)
@click.argument("address", nargs=-1)
@click.option(
    "--size",
    type=click.IntRange(576, 65535),
    metavar="BYTES",
    help="Size of the packet that should get through. [default: 1500, or the larger link's MTU]",
)
@probe_options
@connection_options
def mtu(**options: Any) -> int:
    """Find the largest packet that gets to each ADDRESS unfragmented.

    A black hole (larger packets vanish in silence) is told from path MTU discovery at work (a router says what it can
    take) and from this host's own limit.

    With --from GROUP and no ADDRESS: between the hosts of the group on each IP network that they share, both ways, one
    pair for each class of link. Where the far end is one of these hosts, its agent answers; elsewhere ICMP echo does.
    """
    given = [targets.address(text) for text in options["address"]]
    where, _ = sources(options)
    if not given and len(where.hosts) < 2:
        raise UsageError("mtu needs an ADDRESS, or two hosts or more to measure between: --from GROUP")
    read = links(where)
    chosen = sizes.to_addresses(where.names, given, sizes.owners(read)) if given else sizes.pairs(read)
    if not chosen:
        raise UsageError("the hosts that could be read share no IP network; give an ADDRESS to measure to")
    return probed(options, lambda: sizes.probe(chosen, where, options["size"] or 0))


@command.command("tls", short_help="Certificates: chain, names, end; versions of TLS.", epilog=EXIT)
@click.argument("target", nargs=-1)
@click.option("--servername", default="", metavar="NAME", help="Name to ask for (SNI), instead of the target's own.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Further roots to trust, PEM.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait in each handshake.",
)
@probe_options
@connection_options
def tls(**options: Any) -> int:
    """Look at the certificates and TLS versions of every address of each TARGET, NAME:PORT.

    Without TARGET: those of the inventory, hostaudit_vips with a port and hostaudit_probes. No certificate is fetched
    from anywhere: a chain that the server does not send whole is incomplete, although browsers mend it.
    """
    from datetime import UTC, datetime

    named = _typed(options["target"])
    where, hosts = sources(options)
    named = named or targets.declared(hosts)
    if not named:
        raise UsageError(f"no TARGET, and {NO_VIPS}")
    roots = Path(options["ca_file"]).read_text(encoding="ascii", errors="replace") if options["ca_file"] else ""
    name, wait = options["servername"], options["wait"]
    return probed(options, lambda: others.tls(named, where, datetime.now(UTC), name=name, roots=roots, timeout=wait))


@command.command("dns", short_help="How long lookups take, and which answers are lost.", epilog=EXIT)
@click.argument("name", nargs=-1, required=True)
@click.option(
    "--server",
    required=True,
    metavar="ADDRESS|system",
    help="The name server to ask; system: the first in resolv.conf of whoever asks.",
)
@click.option("--server-port", type=click.IntRange(1, 65535), default=53, show_default=True, metavar="PORT")
@click.option(
    "--tries",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Lookups of each name as written, and of the name with a dot.",
)
@probe_options
@connection_options
def dns(**options: Any) -> int:
    """Look up each NAME as the C library does: A and AAAA at once, from one socket.

    As it is written, and with a dot at its end: the difference is what the search domains cost. A lost answer shows as
    a stall of 5 s (resolv.conf, timeout), and which of the two was lost is told.
    """
    server = options["server"]
    server = server if server == "system" else targets.address(server, "--server")
    where, _ = sources(options)
    port, tries = options["server_port"], options["tries"]
    return probed(options, lambda: others.dns(options["name"], server, where, port=port, tries=tries))


def _typed(words: Iterable[str]) -> list[targets.Named]:
    """Return the targets that somebody typed. Raises UsageError, also for a name without an address: it is misspelt.

    What the inventory declares, and a standing probe's later rounds, are not known then: nothing else is lost by it.
    """
    named = [targets.parse(text) for text in words]
    for one in named:
        targets.resolved(one)
    return named


def _ports(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        raise UsageError(f"--source-ports {text}: expected FIRST-LAST, as in 61000-64999")
    return int(match[1]), int(match[2])
