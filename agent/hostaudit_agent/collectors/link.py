"""Network interfaces, their addresses and the routes out, by rtnetlink (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE).

``underlay`` is the device that carries a link's packets: the parent of a VLAN or macvlan; the device that a tunnel is
bound to, else the one that the routing table gives for its remote, else that of the default route (a VXLAN whose
remotes come with each packet; WireGuard, whose endpoints rtnetlink does not know). The routing table is asked as the
kernel would be without a mark or source address, so policy routing may differ.
"""

from __future__ import annotations

import sys
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from hostaudit_agent import tunnels
from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attribute, attributes, payloads, text
from hostaudit_agent.snapshot import Link, LinkTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hostaudit_agent.root import Root

RTM_GETLINK, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 18, 22, 24, 26
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 18, 29, 37
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BR_VLAN_FILTERING, IFLA_VLAN_ID = 7, 1
RTEXT_FILTER_SKIP_STATS = 8  # half of a link's message is counters that are not read here
IFF_UP, IFF_LOOPBACK = 1, 8
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE = 1, 4, 6, 9, 15
RTN_UNICAST, MAIN_TABLE = 1, 254
FAMILIES: tuple[int, ...] = (AF_INET, AF_INET6)
MOST_ROUTES = 100_000
"""A router with full tables has a million; the default routes stand at the front of each table."""

KINDS = frozenset(("bridge", "vlan", *tunnels.LAYOUTS))
"""Those whose IFLA_INFO_DATA is looked at."""

_link = Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_address = Struct("=4BI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_route = Struct("=8BI")  # struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags
_hop = Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index
_u32 = Struct("=I")


class Default(NamedTuple):
    """One way out of a default route; they sort by preference."""

    other_table: bool
    metric: int
    device: int
    family: int


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> LinkTable:
    """Return the interfaces of this network namespace. ``before`` is not used: links are not counters."""
    del before
    if not root.live:
        raise UnreadableError("links are read by netlink, and a captured tree has no kernel to ask")
    with Netlink(NETLINK_ROUTE) as nl:
        payload = _link.pack(AF_UNSPEC, 0, 0, 0, 0) + attribute(IFLA_EXT_MASK, _u32.pack(RTEXT_FILTER_SKIP_STATS))
        found = [(_link.unpack_from(p), attributes(p, _link.size)) for _, p in nl.dump(RTM_GETLINK, payload)]
        names = {head[2]: text(a[IFLA_IFNAME]) for head, a in found}
        addresses = _addresses(p for _, p in nl.dump(RTM_GETADDR, _address.pack(AF_UNSPEC, 0, 0, 0, 0)))
        defaults: dict[int, list[Default]] = {family: _defaults(nl, family, unread) for family in FAMILIES}
        links = []
        for (_, _, index, flags, _), a in found:
            link = _one(index, flags, a, names)
            link.addresses = addresses.get(index, [])
            _place(link, a, names, defaults, nl)
            links.append(link)
    ways = [names.get(way.device, "") for family in FAMILIES for way in defaults[family]]
    return LinkTable(sorted(links, key=lambda link: link.index), [n for n in dict.fromkeys(ways) if n])


def _one(index: int, flags: int, a: dict[int, bytes], names: dict[int, str]) -> Link:
    mac = a.get(IFLA_ADDRESS, b"")
    return Link(
        name=names[index],
        index=index,
        mtu=_number(a, IFLA_MTU),
        up=bool(flags & IFF_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        master=names.get(_number(a, IFLA_MASTER), ""),
        peer_elsewhere=IFLA_LINK_NETNSID in a,
        mac=mac.hex(":") if len(mac) == 6 else "",
    )


def _place(
    link: Link, a: dict[int, bytes], names: dict[int, str], defaults: dict[int, list[Default]], nl: Netlink
) -> None:
    """Fill in the kind of a link, and for one that is carried by another, by which and at what cost."""
    info = attributes(a.get(IFLA_LINKINFO, b""))
    link.kind = text(info.get(IFLA_INFO_KIND, b""))
    data = attributes(info.get(IFLA_INFO_DATA, b"")) if link.kind in KINDS else {}
    tunnel = tunnels.read(link.kind, data)
    parent = 0
    if tunnel:
        link.overhead, link.details, parent = tunnel.overhead, tunnel.details, tunnel.link
    elif link.kind in tunnels.ON_LINK:
        parent = _number(a, IFLA_LINK)
    if link.kind == "vlan" and IFLA_VLAN_ID in data:
        link.details["id"] = str(int.from_bytes(data[IFLA_VLAN_ID], sys.byteorder))
    elif link.kind == "bridge" and IFLA_BR_VLAN_FILTERING in data:
        link.details["vlan_filtering"] = str(data[IFLA_BR_VLAN_FILTERING][0])
    if link.peer_elsewhere:
        return  # its indices and routes are those of the other namespace
    if parent:
        link.underlay, link.underlay_by = names.get(parent, ""), "link"
    elif tunnel and tunnel.remote:
        link.underlay, link.underlay_by = names.get(_way_to(nl, tunnel.remote), ""), f"route to {tunnel.remote}"
    elif tunnel:
        ways = defaults[tunnel.family] if tunnel.family else defaults[AF_INET] or defaults[AF_INET6]
        link.underlay, link.underlay_by = names.get(ways[0].device, "") if ways else "", "default route"


def _number(a: dict[int, bytes], kind: int) -> int:
    value = a.get(kind)
    return int(_u32.unpack(value)[0]) if value and len(value) == 4 else 0


def _addresses(messages: Iterable[bytes]) -> dict[int, list[str]]:
    """Return ``10.0.0.1/24`` by interface index. IFA_ADDRESS of a point-to-point link is the other end's."""
    found: dict[int, list[str]] = {}
    for payload in messages:
        family, length, _, _, index = _address.unpack_from(payload)
        a = attributes(payload, _address.size)
        value = a.get(IFA_LOCAL) or a.get(IFA_ADDRESS, b"")
        if family in FAMILIES and len(value) == (4 if family == AF_INET else 16):
            found.setdefault(index, []).append(f"{inet_ntop(family, value)}/{length}")
    return found


def _way_to(nl: Netlink, remote: str) -> int:
    """Return the index of the interface towards an address; 0 where the kernel has no route."""
    family = AF_INET6 if ":" in remote else AF_INET
    address = inet_pton(family, remote)
    payload = _route.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, address)
    try:
        _, answer = nl.request(RTM_GETROUTE, payload)
    except OSError:
        return 0
    return _number(attributes(answer, _route.size), RTA_OIF)


def _defaults(nl: Netlink, family: int, unread: Callable[[str, str], None]) -> list[Default]:
    """Return the ways out of the default routes of all tables, the main table's best first."""
    found: list[Default] = []
    seen = 0
    for buffer, size in nl.stream(RTM_GETROUTE, _route.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        for start, end in payloads(buffer, size, RTM_NEWROUTE, _route.size):
            seen += 1
            if buffer[start + 1] == 0 and buffer[start + 7] == RTN_UNICAST:  # dst length, type
                found += _ways(family, bytes(buffer[start:end]))
        if seen > MOST_ROUTES:
            unread("routes", f"more than {MOST_ROUTES} routes: default routes of further tables are not seen")
            break
    return sorted(found)


def _ways(family: int, payload: bytes) -> Iterator[Default]:
    a = attributes(payload, _route.size)
    other = (_number(a, RTA_TABLE) or payload[4]) != MAIN_TABLE
    metric = _number(a, RTA_PRIORITY)
    if RTA_OIF in a:
        yield Default(other, metric, _number(a, RTA_OIF), family)
    hops, offset = a.get(RTA_MULTIPATH, b""), 0
    while offset + _hop.size <= len(hops):
        length, _, _, index = _hop.unpack_from(hops, offset)
        if length < _hop.size:
            return
        yield Default(other, metric, index, family)
        offset += (length + 3) & ~3
