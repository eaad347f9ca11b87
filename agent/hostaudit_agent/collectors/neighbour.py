"""The neighbour tables (ARP and NDP): who answers for an address, as this host believes, from RTM_GETNEIGH.

Layout: include/uapi/linux/neighbour.h, struct ndmsg. Bounded: of large tables ``KEPT`` entries of a family are kept:
routers first, then those in use, then the idle ones; entries without an answer are counted by their state only.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import TYPE_CHECKING, Any

from hostaudit_agent import fib
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attributes, payloads
from hostaudit_agent.snapshot import Neighbour, NeighbourTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.root import Root

RTM_NEWNEIGH, RTM_GETNEIGH, RTM_NEWROUTE, RTM_GETROUTE = 28, 30, 24, 26
NDA_DST, NDA_LLADDR = 1, 2
STATES = {1: "INCOMPLETE", 2: "REACHABLE", 4: "STALE", 8: "DELAY", 16: "PROBE", 32: "FAILED", 128: "PERMANENT"}
"""NUD_*; 64, NOARP, is of interfaces that resolve nothing, and of multicast."""
UNANSWERED = frozenset(("INCOMPLETE", "FAILED"))
IDLE = "STALE"
NTF_ROUTER, NTF_PROXY = 0x80, 0x08
KEPT, SEEN = 1024, 50_000

_message = Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> NeighbourTable:
    """Return the entries of this network namespace. ``before`` is not used: entries are not counters."""
    del before
    if not root.live:
        raise UnreadableError("neighbours are read by netlink, and a captured tree has no kernel to ask")
    names, table = fib.Names(), NeighbourTable([])
    with Netlink(NETLINK_ROUTE) as nl:
        for family in (AF_INET, AF_INET6):
            routers = _routers(nl, family)
            found: list[tuple[int, Neighbour]] = []
            seen = 0
            for payload in _messages(nl, family):
                seen += 1
                if seen > SEEN:
                    break
                _, index, state, flags, _ = _message.unpack_from(payload)
                if flags & NTF_PROXY or state not in STATES:
                    continue
                word = STATES[state]
                table.states[word] = table.states.get(word, 0) + 1
                if word not in UNANSWERED and (one := _one(family, payload, names.of(index), word)):
                    rank = 0 if flags & NTF_ROUTER or one.address in routers else 2 if word == IDLE else 1
                    found.append((rank, one))
            found.sort(key=lambda ranked: ranked[0])
            table.entries += [one for _, one in found[:KEPT]]
            if len(found) > KEPT or seen > SEEN:
                table.truncated = True
                word = "ipv6" if family == AF_INET6 else "ipv4"
                unread(word, f"more than {KEPT} entries: idle ones are left out")
    return table


def _one(family: int, payload: bytes, device: str, state: str) -> Neighbour | None:
    a = attributes(payload, _message.size)
    address, mac = a.get(NDA_DST, b""), a.get(NDA_LLADDR, b"")
    if len(address) != fib.SIZES[family] or len(mac) != 6:
        return None
    return Neighbour(inet_ntop(family, address), device, mac.hex(":"), state)


def _routers(nl: Netlink, family: int) -> set[str]:
    """Return the next routers of default routes; they stand at the front of each table."""
    found: set[str] = set()
    for buffer, size in nl.stream(RTM_GETROUTE, fib.route_header.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWROUTE, fib.route_header.size):
            if buffer[start + 1] == 0:
                a = attributes(bytes(buffer[start:end]), fib.route_header.size)
                gateway = a.get(fib.RTA_GATEWAY, b"")
                if len(gateway) == fib.SIZES[family]:
                    found.add(inet_ntop(family, gateway))
        break  # 32 KiB: some 500 routes
    return found


def _messages(nl: Netlink, family: int) -> Iterator[bytes]:
    for buffer, size in nl.stream(RTM_GETNEIGH, _message.pack(family, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWNEIGH, _message.size):
            yield bytes(buffer[start:end])
