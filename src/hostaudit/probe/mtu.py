"""``probe mtu``: the largest packet from a vantage point to an address, or between hosts of a fleet, both ways."""

from __future__ import annotations

import ipaddress
import random
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.probe import results, vantage
from hostaudit.probed import Mtu, Probes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hostaudit.model import Collected
    from hostaudit_agent.snapshot import Link

WAIT = 20.0
"""Seconds in which the agent at the far end has to answer for the first time; then ICMP echo is tried."""
TIMEOUT = 0.5
SIZES = 15
"""Sizes that are tried for one path at most, between 576 and 9000, twice each."""
PORTS = (62000, 64999)
KINDS = frozenset({"", "bond", "bridge", "vlan", "vxlan", "geneve", "wireguard", "tun", "ipip", "sit", "gre", "gretap"})
"""Links between hosts; a veth or a tap leads to a guest of the same host."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One way to measure: from a host to an address of another one."""

    source: str
    far: str
    """The host at the far end, whose agent answers; empty where it is none of the named hosts."""
    address: str
    segment: str = ""
    wanted: int = 1500
    """Bytes that one would like to get through: what the larger of the two links takes, or 1500."""


@dataclass(frozen=True, slots=True)
class _End:
    host: str
    address: str
    link: Link


def pairs(collected: Sequence[Collected]) -> list[Pair]:
    """Return the pairs to measure in a fleet: for each IP network, a ring over its classes of links, both ways.

    Hosts whose link to the network has the same kind and the same MTU are one class, and one of them stands for all:
    the number of pairs grows with the number of classes, not with that of the hosts. Where a network has one class
    only, its first two hosts are the pair.
    """
    found: list[Pair] = []
    for network, ends in sorted(_networks(collected).items()):
        classes: dict[tuple[str, int], list[_End]] = {}
        for end in ends:
            classes.setdefault((end.link.kind, end.link.mtu), []).append(end)
        first = [members[0] for _, members in sorted(classes.items())]
        ring = first if len(first) > 1 else ends[:2]
        for number, one in enumerate(ring):
            other = ring[(number + 1) % len(ring)]
            if len(ring) == 2 and number:
                break  # a ring of two is one pair
            name = (
                f"{network} ({one.link.kind or 'link'} {one.link.mtu} - {other.link.kind or 'link'} {other.link.mtu})"
            )
            wanted = max(one.link.mtu, other.link.mtu) if one.link.mtu > 1500 or other.link.mtu > 1500 else 1500
            found += [
                Pair(one.host, other.host, other.address, name, wanted),
                Pair(other.host, one.host, one.address, name, wanted),
            ]
    return found


def _networks(collected: Sequence[Collected]) -> dict[str, list[_End]]:
    """Return network -> ends in it, one for each host, in order; networks that two hosts share."""
    ends: dict[str, dict[str, _End]] = {}
    for one in sorted(collected, key=lambda c: c.host.name):
        for network, end in _ends(one):
            ends.setdefault(network, {}).setdefault(end.host, end)
    return {network: list(of.values()) for network, of in ends.items() if len(of) > 1}


def _ends(one: Collected) -> Iterator[tuple[str, _End]]:
    table = one.snapshot.link
    for link in table.links if table else ():
        if not link.up or link.loopback or (link.kind not in KINDS and not link.peer_elsewhere):
            continue
        for text in link.addresses:
            try:
                interface = ipaddress.ip_interface(text)
            except ValueError:
                continue
            if not interface.is_link_local and interface.network.num_addresses > 1:
                yield str(interface.network), _End(one.host.name, str(interface.ip), link)


def to_addresses(sources: Sequence[str], addresses: Iterable[str], owners: dict[str, str]) -> list[Pair]:
    """Return the pairs for addresses that somebody named; ``owners``: address -> host of the inventory that has it."""
    return [
        Pair(source, owners.get(address, ""), address)
        for source in sources
        for address in addresses
        if owners.get(address) != source
    ]


def probe(chosen: Sequence[Pair], where: vantage.From, wanted: int = 0) -> Probes:
    """Measure every pair; ``wanted`` (bytes) takes the place of the pairs' own where it is not 0."""
    token, port = secrets.token_hex(8), random.randint(*PORTS)  # noqa: S311 - the token is the secret
    most = max((sum(pair.source == name for pair in chosen) for name in where.names), default=0)
    seconds = WAIT + (-(-most // 8) or 1) * SIZES * 2 * 2 * TIMEOUT
    tasks: dict[str, dict[str, Any]] = {}
    for name in where.names:
        mine = [pair for pair in chosen if pair.source == name]
        # an agent answers for those who can be told to come; a controller without hosts has nobody to ask
        asking = sum(pair.far == name for pair in chosen)
        if not mine and not asking:
            continue
        task: dict[str, Any] = {"token": token, "port": port, "wait": WAIT, "timeout": TIMEOUT}
        task["paths"] = [{"address": p.address, "udp": bool(p.far), "wanted": wanted or p.wanted} for p in mine]
        if asking:
            task["echo"] = {"token": token, "port": port, "peers": asking, "seconds": seconds}
        tasks[name] = {"mtu": task}
    replies = vantage.perform(where, tasks, seconds)
    found: list[Mtu] = []
    for reply in replies:
        mine = [pair for pair in chosen if pair.source == reply.vantage.name]
        if why := results.errors(reply, "mtu"):
            found += [Mtu(reply.vantage.name, p.address, "untried", segment=p.segment, error=why) for p in mine]
        found += [
            results.mtu(reply.vantage.name, path, pair.segment)
            for pair, path in zip(mine, reply.answer.mtu if reply.answer else (), strict=False)
        ]
    return Probes(tuple(reply.vantage for reply in replies), mtu=tuple(found))


def owners(collected: Sequence[Collected]) -> dict[str, str]:
    """Return address -> the host that has it; addresses that several of them have are none of theirs."""
    found: dict[str, set[str]] = {}
    for one in collected:
        table = one.snapshot.link
        for link in table.links if table else ():
            for text in link.addresses:
                found.setdefault(text.partition("/")[0], set()).add(one.host.name)
    return {address: next(iter(names)) for address, names in found.items() if len(names) == 1}
