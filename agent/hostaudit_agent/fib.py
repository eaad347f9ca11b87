"""Routes and policy rules as rtnetlink has them (include/uapi/linux/rtnetlink.h, fib_rules.h): one message each.

Table ``local`` is left out by the collector: what is local is what the interfaces' addresses say.
"""

from __future__ import annotations

import sys
from socket import AF_INET, AF_INET6, if_indextoname, inet_ntop
from struct import Struct
from typing import TYPE_CHECKING

from hostaudit_agent.netlink import attributes, text
from hostaudit_agent.snapshot import Hop, PolicyRule, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
RTA_TABLE, RTA_VIA, RTA_NH_ID = 15, 18, 30
RTAX_MTU = 2
RTN = ("", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw")
PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp", 18: "keepalived"}
PROTOCOLS.update({186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp"})
RTNH_F_DEAD = 1

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 4, 6, 10
FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_L3MDEV = 14, 15, 16, 17, 19
FRA_KNOWN = frozenset((1, 2, 3, 4, 6, 10, 11, 14, 15, 16, 17, 18, 19, 21))
"""The ones above, and those that match nothing: FLOW, PAD, PROTOCOL."""
FRA_SUPPRESS_IFGROUP = 13
ACTIONS = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
FIB_RULE_INVERT = 2

route_header = Struct("=8BI")  # struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags
rule_header = Struct("=8BI")  # struct fib_rule_hdr: family, dst length, src length, tos, table, -, -, action, flags
_hop = Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index
_u32 = Struct("=I")
SIZES: dict[int, int] = {AF_INET: 4, AF_INET6: 16}


class Names:
    """Names of interfaces by index, each asked for once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, index: int) -> str:
        """Return the name; empty for an interface that went away."""
        if index not in self._known:
            try:
                self._known[index] = if_indextoname(index)
            except OSError:
                self._known[index] = ""
        return self._known[index]


def route(payload: bytes, names: Names) -> Route:
    """Return the route of one RTM_NEWROUTE message."""
    family, length, _, tos, table, protocol, _, kind, flags = route_header.unpack_from(payload)
    a = attributes(payload, route_header.size)
    found = Route(
        destination=_prefix(family, a.get(RTA_DST), length),
        table=_number(a, RTA_TABLE) or table,
        device=names.of(_number(a, RTA_OIF)) if RTA_OIF in a else "",
        via=_gateway(family, a),
        kind=RTN[kind] if 0 < kind < len(RTN) else str(kind),
        family=6 if family == AF_INET6 else 4,
        source=_address(family, a.get(RTA_PREFSRC)),
        metric=_number(a, RTA_PRIORITY),
        mtu=_number(attributes(a[RTA_METRICS]), RTAX_MTU) or None if RTA_METRICS in a else None,
        protocol=PROTOCOLS.get(protocol, str(protocol)),
        tos=tos,
        dead=bool(flags & RTNH_F_DEAD),
    )
    found.hops = list(_hops(family, a.get(RTA_MULTIPATH, b""), names))
    return found


def rule(payload: bytes) -> PolicyRule:
    """Return the rule of one RTM_NEWRULE message."""
    family, to_length, from_length, tos, table, _, _, action, flags = rule_header.unpack_from(payload)
    a = attributes(payload, rule_header.size)
    suppress = int.from_bytes(a.get(FRA_SUPPRESS_PREFIXLEN, b"\xff"), sys.byteorder, signed=True)
    group = int.from_bytes(a.get(FRA_SUPPRESS_IFGROUP, b"\xff"), sys.byteorder, signed=True)
    mark = _number(a, FRA_FWMARK)
    return PolicyRule(
        priority=_number(a, FRA_PRIORITY),
        family=6 if family == AF_INET6 else 4,
        action=ACTIONS.get(action, str(action)),
        table=_number(a, FRA_TABLE) or table,
        source="" if FRA_SRC not in a else _prefix(family, a[FRA_SRC], from_length),
        destination="" if FRA_DST not in a else _prefix(family, a[FRA_DST], to_length),
        iif=text(a.get(FRA_IIFNAME, b"")),
        oif=text(a.get(FRA_OIFNAME, b"")),
        mark=mark if FRA_FWMARK in a else None,
        mask=_number(a, FRA_FWMASK),
        tos=tos,
        goto=_number(a, FRA_GOTO),
        suppress=suppress if suppress >= 0 else None,
        invert=bool(flags & FIB_RULE_INVERT),
        l3mdev=FRA_L3MDEV in a and a[FRA_L3MDEV] != b"\0",
        more=bool(set(a) - FRA_KNOWN - {FRA_SUPPRESS_IFGROUP}) or group >= 0,
    )


def _hops(family: int, value: bytes, names: Names) -> Iterator[Hop]:
    offset = 0
    while offset + _hop.size <= len(value):
        length, flags, weight, index = _hop.unpack_from(value, offset)
        if length < _hop.size or offset + length > len(value):
            return
        inner = attributes(value, offset + _hop.size, offset + length)
        yield Hop(names.of(index), _gateway(family, inner), weight + 1, bool(flags & RTNH_F_DEAD))
        offset += (length + 3) & ~3


def _gateway(family: int, a: dict[int, bytes]) -> str:
    """Return the next router; RTA_VIA has one of the other family (RFC 5549), its family before it."""
    via = a.get(RTA_VIA, b"")
    if len(via) > 2:
        return _address(int.from_bytes(via[:2], sys.byteorder), via[2:])
    return _address(family, a.get(RTA_GATEWAY))


def _address(family: int, value: bytes | None) -> str:
    return inet_ntop(family, value) if value and len(value) == SIZES.get(family) else ""


def _prefix(family: int, value: bytes | None, length: int) -> str:
    if not length:
        return "default"
    return f"{_address(family, value)}/{length}"


def _number(a: dict[int, bytes], kind: int) -> int:
    value = a.get(kind, b"")
    return int(_u32.unpack(value)[0]) if len(value) == 4 else 0
