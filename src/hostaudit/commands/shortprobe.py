"""The short probe of ``hostaudit run --probe``: what the inventory declares, from every vantage point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hostaudit.commands.probing import here, named, notices
from hostaudit.errors import UsageError
from hostaudit.model import Collected
from hostaudit.probe import mtu, others, targets
from hostaudit.probe.tcp import MANAGEMENT, SHORT, probe
from hostaudit.probe.vantage import From
from hostaudit.probed import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.audit import Answer
    from hostaudit.collect import CollectOptions
    from hostaudit.model import Host
    from hostaudit.probe.targets import Named, NameServer
    from hostaudit.probed import Vantage

TLS_PORTS = frozenset({443, 6443, 8006, 8443})
"""Declared targets that TLS is spoken with; other services are not sent what they do not expect."""
LOOKUPS = 10
"""Of each name at each name server: a pair of queries that races is lost now and then only."""
LOOKUP_SECONDS = 15.0
"""After which no further lookup of a name begins: each that stalls takes 5 s or 10."""


@dataclass(frozen=True, slots=True)
class Short:
    """What will be sent, and from where."""

    where: From
    services: tuple[Named, ...]
    addresses: tuple[str, ...]
    management: Mapping[Named, str]
    """Port -> the host whose management port it is."""
    servers: tuple[NameServer, ...]


def planned(options: Mapping[str, Any], hosts: Sequence[Host], settings: CollectOptions) -> Short:
    """Return the short probe of a run, from the inventory alone: nobody is asked anything yet.

    Raises UsageError for a declaration that is none, naming its place, and where nothing is declared at all.
    """
    services, management = targets.declared(hosts), targets.management(hosts)
    addresses, servers = targets.addresses(hosts), targets.name_servers(hosts, services)
    if not (services or addresses or management or servers):
        raise UsageError(
            "--probe: the inventory declares no address; set hostaudit_vips=10.0.0.100:443 for a host or group"
        )
    patterns, notice = options["probe_from"], notices(options)
    chosen = named(patterns, options, notice, "--probe-from")
    quick = replace(settings, interval=0.0, run_timeout=options["run_timeout"], all_netns=False, census=False)
    where = From(tuple(chosen), here(patterns), quick, notice)
    return Short(where, tuple(services), tuple(addresses), management, tuple(servers))


def sent(short: Short, answers: Sequence[Answer]) -> Probes:
    """Send it, and return what was seen; ``answers`` of the run say which vantage point has which address.

    Raises nothing for what cannot be asked: that is not known.
    """
    names = {host.name for host in short.where.hosts}
    read = [one for one in answers if isinstance(one, Collected) and one.host.name in names]
    return joined(list(_parts(short, mtu.owners(read))))


def _parts(short: Short, owners: dict[str, str]) -> Iterator[Probes]:
    """Yield what each kind of probe saw."""
    where = short.where
    if short.services:
        yield probe(short.services, SHORT, where)
    if short.management:
        yield _of_hosts(probe(list(short.management), MANAGEMENT, where), short.management)
    if short.addresses:
        yield others.arp(short.addresses, where)
        yield mtu.probe(mtu.to_addresses(where.names, short.addresses, owners), where)
    if secure := [one for one in short.services if one.port in TLS_PORTS]:
        yield others.tls(secure, where, datetime.now(UTC))
    for server in short.servers:
        yield others.dns(server.names, server.address, where, port=server.port, tries=LOOKUPS, seconds=LOOKUP_SECONDS)


def _of_hosts(probes: Probes, management: Mapping[Named, str]) -> Probes:
    """Say of each series which host's management port it was."""
    host = {named.text: name for named, name in management.items()}
    return replace(probes, tcp=tuple(replace(one, host=host[one.target]) for one in probes.tcp))


def joined(parts: Sequence[Probes]) -> Probes:
    """Put the parts together; a vantage point that was not reached once is said not to be reached."""
    vantages: dict[str, Vantage] = {}
    for one in (vantage for part in parts for vantage in part.vantages):
        if one.name not in vantages or one.status != "ok":
            vantages[one.name] = one
    return Probes(
        tuple(vantages.values()),
        tuple(one for part in parts for one in part.tcp),
        tuple(one for part in parts for one in part.arp),
        tuple(one for part in parts for one in part.mtu),
        tuple(one for part in parts for one in part.tls),
        tuple(one for part in parts for one in part.dns),
    )
