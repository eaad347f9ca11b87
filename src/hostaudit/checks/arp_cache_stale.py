"""No host sends to a neighbour that does not own the address any more.

What it reads
    The neighbour tables (ARP) of all hosts of the run, beside the addresses and MAC addresses of their interfaces.

Why it matters
    When an address moves, its new owner announces it, and the announcement may be lost. Who keeps the old entry sends
    to the machine that owned the address before, which drops what is not for it, or forwards it and hides the fault.
    Everybody else reaches the address; only this one does not. Entries that somebody set by hand never age.

Active when
    The host that the entry leads to counts packets for addresses that are not its own (``Ip.InAddrErrors`` grew
    between the samples), or the entry is being asked for anew at this moment (DELAY, PROBE) because it is in use.
    Else it is a risk. Left out: addresses that several hosts own, proxies that answer for many, bridges of a host's own
    guests, and networks of which nothing shows that both hosts stand on the same one.

How it is remedied
    Delete the entry on the host that has it; the next packet asks again. Then make the owner announce itself when the
    address moves. ``gc_stale_time`` and ``base_reachable_time_ms`` help on the host that has the stale entry only:
    set on the owner they do not age anybody's cache. Routers and other machines outside the inventory are not seen.

Fix safety
    Deleting an entry costs one question and answer.

References
    https://www.rfc-editor.org/rfc/rfc5227
    https://man7.org/linux/man-pages/man7/arp.7.html
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit.checks import _links, _say, fleet_check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks import Fleet, View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import Link, LinkTable, Neighbour

_REFUSED = "Ip.InAddrErrors"
_IN_USE = frozenset({"DELAY", "PROBE"})


class _Owned(NamedTuple):
    view: View
    link: Link


class _Segment(NamedTuple):
    addresses: dict[str, list[_Owned]]
    macs: dict[str, list[_Owned]]


@fleet_check(reads=("link", "neighbour"), severity=Severity.MEDIUM)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Compare what each host believes with what the others have."""
    known = _Segment(defaultdict(list), defaultdict(list))
    for view in fleet.views:
        assert view.snapshot.link is not None  # noqa: S101 - reads
        for link in _links.up(view.snapshot.link):
            known.macs[link.mac].append(_Owned(view, link))
            for address in link.addresses:
                known.addresses[address.partition("/")[0]].append(_Owned(view, link))
    return [replace(_one(view, known), host=view.host.name) for view in fleet.views]


def _one(view: View, known: _Segment) -> Finding:
    table = view.snapshot.neighbour
    assert table is not None  # noqa: S101 - reads
    compared = [one for one in table.entries if one.address in known.addresses]
    rows = sorted(_stale(view, compared, known), key=lambda row: row["grade"])
    if not rows and table.truncated:
        return unknown("the neighbour table is too large to be read in full; of what was read nothing is stale")
    if not rows:
        return passed(f"the neighbours are who they should be ({len(compared)} compared)", compared=len(compared))
    first = rows[0]
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    device = _say.quote(first["device"])
    return view.fail(
        Grade(first["grade"]),
        f"{first['address']} is {first['mac']} here, {first['owner']}"[: 78 - len(more)] + more,
        severity=Severity.HIGH if first["grade"] == Grade.ACTIVE else None,
        evidence={"stale": rows[:16], "entries_compared": len(compared)},
        reproduce=f"ip neigh show {first['address']} dev {device}; "
        f"arping -c 2 -I {device} {first['address']}; ip -s -s neigh show {first['address']}",
        disproof="A question on the wire (arping) is answered by the MAC address of the entry.",
        advice=(
            f"On this host: `ip neigh del {first['address']} dev {device}`; it asks again with the next packet. "
            + ("The entry is PERMANENT: find who set it by hand. " if first["state"] == "PERMANENT" else "")
            + "Have the owner announce the address when it moves (gratuitous ARP, several times)."
        ),
        cause="stale neighbour entries for addresses of other hosts",
    )


def _stale(view: View, compared: list[Neighbour], known: _Segment) -> Iterator[dict[str, Any]]:
    table = view.snapshot.link
    assert table is not None  # noqa: S101 - reads
    assert view.snapshot.neighbour is not None  # noqa: S101 - reads
    answers: dict[str, set[str]] = defaultdict(set)
    for one in view.snapshot.neighbour.entries:
        answers[one.mac].update(owned.view.host.name for owned in known.addresses.get(one.address, ()))
    for one in compared:
        link, owners = _links.named(table, one.device), known.addresses[one.address]
        if link is None or len(owners) != 1 or owners[0].view is view or _private(table, link):
            continue
        (owner,) = owners
        theirs = owner.view.snapshot.link
        assert theirs is not None  # noqa: S101 - reads
        if not owner.link.mac or one.mac in {other.mac for other in theirs.links}:
            continue  # any interface of the owner will do
        at = next((o for o in known.macs.get(one.mac, ()) if o.view is not view), None)
        proxy = len(answers[one.mac] - {at.view.host.name if at else ""}) > 1
        if proxy or not (_same(link, owner.link) and (_together(link, owner) or (at and _same(link, at.link)))):
            continue
        counters = at.view.snapshot.counters if at else None
        refused = (counters.delta or {}).get(_REFUSED, 0) if counters else 0
        yield {
            "address": one.address,
            "device": one.device,
            "mac": one.mac,
            "state": one.state,
            "owner": f"{owner.view.host.name} has {owner.link.mac}",
            "leads_to": f"{at.view.host.name}, {at.link.name}" if at else "no host of this run",
            "refused_there": refused,
            "grade": Grade.ACTIVE if refused or one.state in _IN_USE else Grade.RISK,
        }


def _private(table: LinkTable, link: Link) -> bool:
    return link.kind == "bridge" and _links.private(table, link)


def _same(one: Link, other: Link) -> bool:
    return bool(set(_links.networks(one)) & set(_links.networks(other)))


def _together(link: Link, owner: _Owned) -> bool:
    """Say whether the owner has this host as a neighbour on that very network."""
    table, mine = owner.view.snapshot.neighbour, {str(ipaddress.ip_interface(text).ip) for text in link.addresses}
    entries = table.entries if table else []
    return any(e.mac == link.mac and e.address in mine and e.device == owner.link.name for e in entries)
