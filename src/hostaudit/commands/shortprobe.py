"""The short probe of ``hostaudit run --probe``: what the inventory declares, from every vantage point."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hostaudit.commands.probing import links, sources
from hostaudit.errors import UsageError
from hostaudit.probe import mtu, others, targets
from hostaudit.probe.tcp import MANAGEMENT, SHORT, probe
from hostaudit.probed import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.model import Host
    from hostaudit.probe.targets import Named
    from hostaudit.probe.vantage import From
    from hostaudit.probed import Vantage

TLS_PORTS = frozenset({443, 6443, 8006, 8443})
"""Declared targets that TLS is spoken with; other services are not sent what they do not expect."""
LOOKUPS = 10
"""Of each name at each name server: a pair of queries that races is lost now and then only."""
LOOKUP_SECONDS = 15.0
"""After which no further lookup of a name begins: each that stalls takes 5 s or 10."""


def for_run(options: Mapping[str, Any]) -> Probes:
    """Send it. Raises UsageError where the inventory declares nothing to probe."""
    where, hosts = sources({**options, "from_": options["probe_from"]})
    return joined(list(_parts(where, hosts)))


def _parts(where: From, hosts: Sequence[Host]) -> Iterator[Probes]:
    """Yield what each kind of probe saw."""
    named, addresses, management = targets.declared(hosts), targets.addresses(hosts), targets.management(hosts)
    servers = targets.name_servers(hosts, named)
    if not (named or addresses or management or servers):
        raise UsageError(
            "--probe: the inventory declares no address; set hostaudit_vips=10.0.0.100:443 for a host or group"
        )
    if named:
        yield probe(named, SHORT, where)
    if management:
        yield _of_hosts(probe(list(management), MANAGEMENT, where), management)
    if addresses:
        yield others.arp(addresses, where)
        yield mtu.probe(mtu.to_addresses(where.names, addresses, mtu.owners(links(where))), where)
    if secure := [one for one in named if one.port in TLS_PORTS]:
        yield others.tls(secure, where, datetime.now(UTC))
    for server in servers:
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
