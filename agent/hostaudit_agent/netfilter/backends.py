"""Which addresses that DNAT sends packets to have nobody behind them, as far as this host can see.

Only guests of this host can be judged: addresses of a network on one of its bridges, and such as have a route of their
own to a veth, or would have to (a CNI that routes announces its block with a blackhole). Behind a bridge the neighbour
table knows: an address that does not answer ARP is FAILED or INCOMPLETE (include/uapi/linux/neighbour.h). The kernel
asks only when packets are sent there, so an address that nobody uses is not judged, and none that answers is called
dead.
"""

from __future__ import annotations

import ipaddress
import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from typing import TYPE_CHECKING, NamedTuple, Union

from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attribute, attributes, payloads, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_GETROUTE, RTM_NEWNEIGH, RTM_GETNEIGH = 18, 20, 22, 26, 28, 30
RTM_NEWROUTE = 24
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 18, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT = 1, 6, 7, 8
REFUSING = (RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT)
INCOMPLETE, FAILED = 1, 0x20  # NUD_*
NDA_DST = 1
MOST_ROUTES, MOST_NEIGHBOURS, MOST_ASKED = 20_000, 20_000, 512
_route = struct.Struct("=8BI")
_neighbour = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class Guests(NamedTuple):
    """Where guests of this host live."""

    bridged: dict[Network, str]
    """Network of a bridge's address -> the bridge."""
    blocks: tuple[Network, ...]
    """Networks that are refused but for routes of their own."""
    own: frozenset[str]
    """This host's own addresses."""


def guests(nl: Netlink) -> Guests:
    """Return them; OSError where the kernel does not tell."""
    bridges = {}
    for _, payload in nl.dump(RTM_GETLINK, bytes(16)):
        link = attributes(payload, 16)
        if text(attributes(link.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")) == "bridge":
            bridges[struct.unpack_from("=i", payload, 4)[0]] = text(link[IFLA_IFNAME])
    bridged: dict[Network, str] = {}
    own = set()
    for _, payload in nl.dump(RTM_GETADDR, bytes(8)):
        family, length, _, _, index = struct.unpack_from("=4BI", payload)
        a = attributes(payload, 8)
        raw = a.get(IFA_LOCAL) or a.get(IFA_ADDRESS, b"")
        if len(raw) != {AF_INET: 4, AF_INET6: 16}.get(family):
            continue
        own.add(inet_ntop(family, raw))
        network = ipaddress.ip_network((inet_ntop(family, raw), length), strict=False)
        if index in bridges and network.num_addresses > 2 and not network.is_link_local:
            bridged[network] = bridges[index]
    ways_out = set()
    blocks = []
    for family in (AF_INET, AF_INET6):
        for kind, length, index, destination in _routes(nl, family):
            if length == 0 and kind == RTN_UNICAST:
                ways_out.add(index)
            elif kind in REFUSING and 0 < length < 8 * len(destination):
                blocks.append(ipaddress.ip_network((inet_ntop(family, destination), length), strict=False))
    uplinks = {bridges[index] for index in ways_out if index in bridges}
    return Guests({n: b for n, b in bridged.items() if b not in uplinks}, tuple(blocks), frozenset(own))


def _routes(nl: Netlink, family: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, prefix length, interface and destination of routes, the first ones."""
    seen = 0
    for buffer, size in nl.stream(RTM_GETROUTE, _route.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWROUTE, _route.size):
            seen += 1
            payload = bytes(buffer[start:end])
            if payload[7] in (RTN_UNICAST, *REFUSING):
                a = attributes(payload, _route.size)
                index = struct.unpack("=I", a[RTA_OIF])[0] if RTA_OIF in a else 0
                yield payload[7], payload[1], index, a.get(RTA_DST, bytes(4 if family == AF_INET else 16))
        if seen > MOST_ROUTES:
            return


def dead(addresses: Iterable[str]) -> dict[str, str]:
    """Return those of the addresses that nobody is behind, with the reason; OSError where the kernel does not tell."""
    found: dict[str, str] = {}
    with Netlink(NETLINK_ROUTE) as nl:
        home = guests(nl)
        if not home.bridged and not home.blocks:
            return {}
        failed = _failed(nl)
        asked = 0
        for address in addresses:
            where = ipaddress.ip_address(address)
            if address in home.own:
                continue
            bridge = next((b for n, b in home.bridged.items() if where in n), "")
            if bridge and address in failed:
                found[address] = f"neighbour failed on {bridge}"
            elif not bridge and asked < MOST_ASKED and any(where in block for block in home.blocks):
                asked += 1
                if not _routed(nl, address):
                    found[address] = "no route"
    return found


def _failed(nl: Netlink) -> set[str]:
    """Return the neighbours that do not answer."""
    found, seen = set(), 0
    for buffer, size in nl.stream(RTM_GETNEIGH, _neighbour.pack(AF_UNSPEC, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWNEIGH, _neighbour.size):
            seen += 1
            payload = bytes(buffer[start:end])
            family, _, state, _, _ = _neighbour.unpack_from(payload)
            raw = attributes(payload, _neighbour.size).get(NDA_DST, b"")
            if state & (FAILED | INCOMPLETE) and len(raw) == {AF_INET: 4, AF_INET6: 16}.get(family):
                found.add(inet_ntop(family, raw))
        if seen > MOST_NEIGHBOURS:
            break
    return found


def _routed(nl: Netlink, address: str) -> bool:
    family = AF_INET6 if ":" in address else AF_INET
    raw = inet_pton(family, address)
    try:
        _, answer = nl.request(
            RTM_GETROUTE, _route.pack(family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, raw)
        )
    except OSError:  # a blackhole answers EINVAL, unreachable EHOSTUNREACH
        return False
    return answer[7] not in REFUSING
