"""Which ways connections take by design: virtual addresses, who owns them, their backends, and the hosts between. Pure.

Declared in the inventory, on any host: ``hostaudit_vips`` (address -> the guests that answer for it),
``hostaudit_backends`` (address -> the guests that serve it; by default those that have the address too) and
``hostaudit_forwarding``, how an owner hands a connection to a backend:

dsr     in a tunnel or by tunnel-like translation, and the backend answers the client directly (Cilium, IPVS-TUN)
dsr-l2  unchanged, by the backend's MAC address, and the backend answers directly (IPVS-DR, keepalived)
proxy   as its own connection or with its own address (SNAT): the answer comes back through the owner
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostaudit.checks import _invalid
from hostaudit.model import Collected
from hostaudit.trace.fleet import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hostaudit.model import MappedGuest
    from hostaudit.trace.fleet import Node

FORWARDING = ("dsr", "dsr-l2", "proxy")
SCHEMA = "hostaudit.paths/1"


@dataclass(frozen=True, slots=True)
class Combination:
    """One address, the guest that answers for it, and one backend."""

    vip: str
    owner: str
    owner_at: str
    """Hypervisor; empty where it is not known."""
    backend: str
    backend_at: str
    forwarding: str
    share: float
    """Of the connections to this address: every owner and backend gets the same."""
    lost_today: str = ""
    """How connections of it fail with today's filters; empty: they work."""
    lost_planned: str = ""
    """The same, once the plan is carried out."""

    @property
    def known(self) -> bool:
        """Both places are known."""
        return bool(self.owner_at and self.backend_at)

    @property
    def asymmetric(self) -> bool:
        """SYN and SYN-ACK go through different hypervisors."""
        return self.known and self.forwarding != "proxy" and self.owner_at != self.backend_at


def places(nodes: Sequence[Node], guests: Sequence[MappedGuest]) -> dict[str, str]:
    """Return name of a guest (of a host of the inventory, its VMID) -> the hypervisor that carries it.

    ``hostaudit_hypervisor`` of the guest says so, or Proxmox's configuration; else the port of a guest behind which a
    bridge, or the neighbour table of a host that routes, knows one of the host's MAC addresses.
    """
    found: dict[str, str] = {}
    for node in nodes:
        for _, mac in _learned(node):
            for other in nodes:
                if other is not node and mac in _macs(other):
                    found.setdefault(other.name, node.name)
    for guest in guests:
        if guest.running is not False:
            found.update({name: guest.hypervisor for name in (guest.name, guest.host, str(guest.vmid)) if name})
    for node in nodes:
        if declared := str(node.host.variables.get("hostaudit_hypervisor", "")).strip():
            found[node.name] = declared
    return found


def combinations(
    nodes: Sequence[Node], guests: Sequence[MappedGuest], planned: frozenset[str] = frozenset()
) -> list[Combination]:
    """Return every combination that the inventory declares. ``planned``: hosts that a plan makes accept INVALID."""
    where = places(nodes, guests)
    today = {node.name: drops(node) for node in nodes}
    then = {name: "" if name in planned else word for name, word in today.items()}
    found: list[Combination] = []
    for vip, owners, backends, forwarding in _declared(nodes, guests):
        number = max(1, len(owners) * len(backends))
        for owner in owners:
            for backend in backends:
                at, to = where.get(owner, ""), where.get(backend, "")
                mode = "proxy" if owner == backend else forwarding
                one = Combination(vip, owner, at, backend, to, mode, round(1 / number, 4))
                fate = [_lost(one, filters) for filters in (today, then)]
                found.append(Combination(vip, owner, at, backend, to, mode, one.share, *fate))
    return found


def drops(node: Node) -> str:
    """Return the chain that drops INVALID packets on their way through a host; empty: none, ``?``: not read."""
    snapshot = node.capture.snapshot if node.capture else None
    if snapshot is None or snapshot.firewall is None or snapshot.link is None or snapshot.sysctl is None:
        return "?"
    met = _invalid.examine(snapshot)
    return met.chain if met.met else ""


def _lost(one: Combination, filters: Mapping[str, str]) -> str:
    """Say how connections of an asymmetric combination fail.

    Encapsulated, the backend's host sees a SYN-ACK without a SYN, and the owner's an ACK without a SYN-ACK; un-
    encapsulated, the backend's host sees both halves, and only the owner's one half.
    """
    if not one.asymmetric:
        return ""
    first, second = filters.get(one.owner_at, "?"), filters.get(one.backend_at, "?")
    if one.forwarding == "dsr" and second not in {"", "?"}:
        return f"connect fails: {one.backend_at} drops the SYN-ACK ({second})"
    if first not in {"", "?"}:
        return f"connects, then hangs: {one.owner_at} drops the client's ACK ({first})"
    if "?" in {first, second}:
        return "?"
    return ""


def shares(found: Sequence[Combination]) -> dict[str, dict[str, float | None]]:
    """Return address -> ``asymmetric``, ``lost_today`` and ``lost_planned`` as shares (0 to 1); ``None``: not known."""
    result: dict[str, dict[str, float | None]] = {}
    for vip in dict.fromkeys(one.vip for one in found):
        mine = [one for one in found if one.vip == vip]
        row: dict[str, float | None] = {}
        for name in ("asymmetric", "lost_today", "lost_planned"):
            unknown = any(not one.known or getattr(one, name) == "?" for one in mine)
            row[name] = None if unknown else round(sum(one.share for one in mine if getattr(one, name)), 3)
        result[vip] = row
    return result


def document(found: Sequence[Combination], nodes: Sequence[Node], planned: frozenset[str]) -> dict[str, Any]:
    """Return the JSON document; keys are only ever added."""
    return {
        "schema": SCHEMA,
        "vips": shares(found),
        "combinations": [
            {
                "vip": one.vip,
                "owner": one.owner,
                "owner_at": one.owner_at,
                "backend": one.backend,
                "backend_at": one.backend_at,
                "forwarding": one.forwarding,
                "share": one.share,
                "asymmetric": one.asymmetric if one.known else None,
                "lost_today": one.lost_today,
                "lost_planned": one.lost_planned,
            }
            for one in found
        ],
        "hosts": [
            {"name": n.name, "drops_invalid": drops(n), "planned": n.name in planned, "reason": n.reason} for n in nodes
        ],
    }


def answers(nodes: Sequence[Node]) -> list[Collected]:
    """Return the hosts that answered as an audit has them."""
    return [Collected(node.host, node.capture.snapshot, 0.0) for node in nodes if node.capture]


def _learned(node: Node) -> Iterator[tuple[str, str]]:
    """Yield the ports of guests with the MAC addresses behind them: bridged, or routed and known by ARP or NDP."""
    if node.capture is None:
        return
    roles, table = node.roles(), node.capture.snapshot.neighbour
    pairs = [(port, mac) for mac, port in node.capture.fdb.items()]
    pairs += [(entry.device, entry.mac) for entry in (table.entries if table else [])]
    yield from (pair for pair in pairs if roles.get(pair[0]) is Role.GUEST)


def _macs(node: Node) -> set[str]:
    table = node.capture.snapshot.link if node.capture else None
    return {link.mac for link in (table.links if table else []) if link.mac and not link.loopback}


def _declared(
    nodes: Sequence[Node], guests: Sequence[MappedGuest]
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...], str]]:
    """Yield address, owners, backends and forwarding, in order of the address."""
    owners: dict[str, list[str]] = {}
    backends: dict[str, list[str]] = {}
    forwarding: dict[str, str] = {}
    for node in nodes:
        variables = node.host.variables
        for vip, names in node.host.vips.items():
            owners.setdefault(vip, []).extend(names)
            forwarding.setdefault(vip, str(variables.get("hostaudit_forwarding", "dsr")))
        table = variables.get("hostaudit_backends", {})
        for vip, names in table.items() if isinstance(table, dict) else ():
            words = names if isinstance(names, list | tuple) else str(names).split(",")
            backends.setdefault(str(vip), []).extend(str(word).strip() for word in words)
    for vip in sorted(owners):
        address = vip.rpartition(":")[0].strip("[]") if vip.count(":") == 1 or "]:" in vip else vip
        carriers = [node.name for node in nodes if address in node.addresses]
        carriers += [guest.host or guest.name for guest in guests if vip in guest.vips]
        mine = tuple(dict.fromkeys(owners[vip])) or tuple(dict.fromkeys(carriers))
        served = tuple(dict.fromkeys(backends.get(vip, []))) or tuple(dict.fromkeys(carriers)) or mine
        yield vip, mine, served, forwarding[vip]
