"""``hostaudit probe``: ask the network, from here or from hosts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from hostaudit.commands.options import VARIABLES, connection_options
from hostaudit.commands.probing import links, probe_options, probed, sources
from hostaudit.errors import UsageError
from hostaudit.probe import mtu as sizes
from hostaudit.probe import others, targets
from hostaudit.probe.tcp import Plan
from hostaudit.probe.tcp import probe as handshakes

NO_VIPS = "the inventory names none: give targets, or declare hostaudit_vips=10.0.0.100:443 for a host or group"


@click.group("probe", context_settings=VARIABLES)
def command() -> None:
    """Ask the network, from here or from hosts of the inventory: handshakes, path MTU, ARP, TLS, DNS.

    Packets are sent to the addresses that are named, and nowhere else; no host is changed. Exit code: 0 all is in
    order; 8 something fails; 4 a vantage point could not be reached or could not do it; 12 both; 2 bad options.
    """


@command.command("tcp")
@click.argument("target", nargs=-1)
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=120, show_default=True, help="Connections to each address."
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
    help="For the SYN-ACK, and again for data.",
)
@click.option("--source-ports", metavar="A-B", default="61000-64999", show_default=True, help="Ports to connect from.")
@click.option("--send", default="", metavar="TEXT", help="Send this once connected; \\r, \\n and \\xNN are understood.")
@click.option("--expect", default="", metavar="TEXT", help="The reply has to contain this; otherwise it is a failure.")
@probe_options
@connection_options
def tcp(**options: Any) -> int:
    """Try many handshakes with every address of each TARGET, NAME:PORT. Without TARGET: those of the inventory.

    A handshake counts when the end of the connection was acknowledged as well (or what --expect says has come), so that
    "connects, then hangs" is told from "does not connect". Verdicts: ok; path-dependent (some fail); down.
    """
    plan = Plan(
        options["count"],
        options["every"],
        options["wait"],
        _ports(options["source_ports"]),
        _escaped("--send", options["send"]),
        _escaped("--expect", options["expect"]),
    )
    named = [targets.parse(text) for text in options["target"]]
    where, hosts = sources(options)
    named = named or targets.declared(hosts)
    if not named:
        raise UsageError(f"no TARGET, and {NO_VIPS}")
    return probed(options, lambda: handshakes(named, plan, where))


@command.command("arp")
@click.argument("address", nargs=-1)
@click.option("--asks", type=click.IntRange(1, 100), default=3, show_default=True, help="How often each is asked.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=0.7,
    show_default=True,
    metavar="SECONDS",
    help="For answers, each time.",
)
@click.option(
    "--interface", default="", metavar="NAME", help="Ask there. [default: where the route to the address leads]"
)
@probe_options
@connection_options
def arp(**options: Any) -> int:
    """Ask who answers ARP for each ADDRESS (RFC 5227 probes: who is asked learns nothing). Default: hostaudit_vips.

    Needs root where it is asked from (CAP_NET_RAW), and a vantage point on the address's own segment.
    """
    given = [targets.address(text) for text in options["address"]]
    where, hosts = sources(options)
    addresses = given or [targets.address(text, "hostaudit_vips") for text in targets.addresses(hosts)]
    if not addresses:
        raise UsageError(f"no ADDRESS, and {NO_VIPS}")
    asking = {"asks": options["asks"], "seconds": options["wait"], "interface": options["interface"]}
    return probed(options, lambda: others.arp(addresses, where, **asking))


@command.command("mtu")
@click.argument("address", nargs=-1)
@click.option(
    "--size",
    type=click.IntRange(576, 65535),
    metavar="BYTES",
    help="What should get through. [default: 1500, or the larger link's MTU]",
)
@probe_options
@connection_options
def mtu(**options: Any) -> int:
    """Find the largest packet that gets to each ADDRESS unfragmented, and tell a black hole from a limit that is said.

    With --from HOSTS and no ADDRESS: between the hosts of each IP network that they share, both ways, one pair for each
    class of link. At the far end an agent answers where it is one of these hosts; otherwise ICMP echo is used.
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


@command.command("tls")
@click.argument("target", nargs=-1)
@click.option("--servername", default="", metavar="NAME", help="Name to ask for (SNI), instead of the target's own.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Further roots to trust, PEM.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="For each handshake.",
)
@probe_options
@connection_options
def tls(**options: Any) -> int:
    """Show what every address of each TARGET, NAME:PORT, shows in a TLS handshake: versions, chain, names, expiry.

    No certificate is fetched: a chain that the server does not send whole is incomplete.
    """
    from datetime import UTC, datetime

    named = [targets.parse(text) for text in options["target"]]
    where, hosts = sources(options)
    named = named or targets.declared(hosts)
    if not named:
        raise UsageError(f"no TARGET, and {NO_VIPS}")
    roots = Path(options["ca_file"]).read_text(encoding="ascii", errors="replace") if options["ca_file"] else ""
    name, wait = options["servername"], options["wait"]
    return probed(options, lambda: others.tls(named, where, datetime.now(UTC), name=name, roots=roots, timeout=wait))


@command.command("dns")
@click.argument("name", nargs=-1, required=True)
@click.option(
    "--server", required=True, metavar="ADDRESS|system", help="Name server; system: the first of resolv.conf there."
)
@click.option("--server-port", type=click.IntRange(1, 65535), default=53, show_default=True)
@click.option("--tries", type=click.IntRange(1, 1000), default=3, show_default=True, help="Lookups of each form.")
@probe_options
@connection_options
def dns(**options: Any) -> int:
    """Look up each NAME as the C library does, A and AAAA in parallel, as written and with a dot at its end.

    Shows what the search domains cost, and the stalls of 5 s that a lost answer makes.
    """
    server = options["server"]
    server = server if server == "system" else targets.address(server, "--server")
    where, _ = sources(options)
    port, tries = options["server_port"], options["tries"]
    return probed(options, lambda: others.dns(options["name"], server, where, port=port, tries=tries))


def _ports(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        raise UsageError(f"--source-ports {text}: expected FIRST-LAST, as in 61000-64999")
    return int(match[1]), int(match[2])


def _escaped(option: str, text: str) -> str:
    """Return the bytes of a text as Latin-1, with its backslash sequences resolved."""
    try:
        return text.encode("utf-8").decode("unicode_escape").encode("latin-1").decode("latin-1")
    except UnicodeError as problem:
        raise UsageError(f"{option} {text!r}: a backslash sequence that is none: {problem}") from None
