"""``probe arp``, ``probe tls`` and ``probe dns``: one question to each vantage point, put together as values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hostaudit.probe import results, targets, vantage
from hostaudit.probed import Arp, Dns, Probes, Tls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from hostaudit.probe.targets import Named


def arp(
    addresses: Sequence[str], where: vantage.From, *, asks: int = 3, seconds: float = 0.7, interface: str = ""
) -> Probes:
    """Ask who answers ARP for each address, on the segments of the vantage points."""
    task = {"addresses": list(addresses), "asks": asks, "seconds": seconds, "interface": interface}
    replies = vantage.perform(where, _all(where, {"arp": task}), asks * seconds * len(addresses))
    found: list[Arp] = []
    for reply in replies:
        name = reply.vantage.name
        if why := results.errors(reply, "arp"):
            found += [Arp(name, address, error=why) for address in addresses]
        found += [results.arp(name, heard) for heard in (reply.answer.arp if reply.answer else ())]
    found.sort(key=lambda one: (addresses.index(one.address), where.names.index(one.vantage)))
    return Probes(tuple(reply.vantage for reply in replies), arp=tuple(found))


def tls(
    named: Sequence[Named], where: vantage.From, now: datetime, *, name: str = "", roots: str = "", timeout: float = 5.0
) -> Probes:
    """Look at every address of each target; ``name`` takes the place of the target's own, ``roots`` is PEM text.

    A name that cannot be resolved is told as one that could not be tried.
    """
    everything = [(one, host.host) for host in named for one in targets.known(host)]
    addressed = [(one, host) for one, host in everything if not one.error]
    asked = [name or ("" if host == one.address else host) for one, host in addressed]
    task = {
        "targets": [
            {"address": one.address, "port": one.port, "name": sni}
            for (one, _), sni in zip(addressed, asked, strict=True)
        ],
        "timeout": timeout,
        "ca": roots,
    }
    replies = vantage.perform(where, _all(where, {"tls": task}) if addressed else {}, 3 * timeout * len(addressed))
    nameless = [(one, name or host) for one, host in everything if one.error]
    found = [Tls(at, o.target, "", o.port, sni, error=o.error) for at in where.names for o, sni in nameless]
    for reply in replies:
        vantage_name = reply.vantage.name
        if why := results.errors(reply, "tls"):
            found += [
                Tls(vantage_name, one.target, one.address, one.port, sni, error=why)
                for (one, _), sni in zip(addressed, asked, strict=True)
            ]
        for (one, _), shown in zip(addressed, reply.answer.tls if reply.answer else (), strict=False):
            found.append(results.tls(vantage_name, one.target, shown, now))
    return Probes(_with_errors(replies, "tls"), tls=tuple(found))


def dns(
    names: Sequence[str], server: str, where: vantage.From, *, port: int = 53, tries: int = 3, seconds: float = 0.0
) -> Probes:
    """Ask one name server for each name, with and without a dot at its end.

    ``seconds``: no lookup of a name begins later than so long after its first; 0: however long they take.
    """
    task = {"server": server, "port": port, "names": list(names), "tries": tries, "seconds": seconds}
    # a lost answer costs 5 s twice (attempts), for each candidate of the search list
    longest = seconds + 2 * 40.0 if seconds else tries * 2 * 40.0
    replies = vantage.perform(where, _all(where, {"dns": task}), len(names) * longest)
    found: list[Dns] = []
    for reply in replies:
        if why := results.errors(reply, "dns"):
            found += [Dns(reply.vantage.name, server, name, error=why, port=port) for name in names]
        for asked in reply.answer.dns if reply.answer else ():
            found.append(replace(results.dns(reply.vantage.name, asked), port=port))
    return Probes(_with_errors(replies, "dns"), dns=tuple(found))


def _all(where: vantage.From, task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(where.names, task)


def _with_errors(replies: Sequence[vantage.Reply], kind: str) -> tuple[Any, ...]:
    """Return the vantage points; one that could not do its task at all has not been one."""
    return tuple(
        replace(reply.vantage, status="unreachable", reason=why)
        if reply.answer and (why := results.errors(reply, kind))
        else reply.vantage
        for reply in replies
    )
