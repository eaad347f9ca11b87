"""What an encapsulating link adds to each packet and where it sends them, from IFLA_INFO_DATA of its kind.

Attribute numbers: include/uapi/linux/if_link.h and if_tunnel.h. Overheads are counted from the outer IP header to the
inner packet: VXLAN and Geneve 8 + 8 + 14 bytes behind the IP header, GRE 4 and 4 for each of checksum, key and
sequence number, WireGuard 8 + 32. Geneve options are not known here; they come on top.
"""

from __future__ import annotations

import sys
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

IP, IP6, ETHERNET, UDP = 20, 40, 14, 8
ENCAP_LIMIT = 8
"""A destination option that ip6tnl and ip6gre add unless told not to (IP6_TNL_F_IGN_ENCAP_LIMIT, bit 0)."""
FOU = {1: UDP, 2: UDP + 4}
"""TUNNEL_ENCAP_FOU and _GUE put UDP under the tunnel's own header."""
GRE_OPTIONS = (0x8000, 0x2000, 0x1000)
"""GRE_CSUM, GRE_KEY, GRE_SEQ in the 16 bits of big-endian flags."""

ON_LINK = frozenset(("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"))
"""Kinds whose IFLA_LINK is the device that carries their packets. A veth's IFLA_LINK is its peer."""


class Layout(NamedTuple):
    """Attribute numbers of one kind; 0: it has no such attribute."""

    base: int
    """Bytes besides the outer IP header."""
    outer6: bool = False
    """The outer header is always IPv6."""
    link: int = 0
    remote: tuple[int, ...] = ()
    local: tuple[int, ...] = ()
    external: int = 0
    """Its remotes come with each packet (COLLECT_METADATA)."""
    identity: int = 0
    port: int = 0
    options: int = 0
    limit_flags: int = 0
    encapsulation: int = 0
    no_ethernet: int = 0


_GRE = Layout(4, link=1, remote=(7,), local=(6,), options=3, encapsulation=14, external=18)
_IPTUN = Layout(0, link=1, remote=(3,), local=(2,), encapsulation=15, external=19)
_LAN = Layout(UDP + 8 + ETHERNET, identity=1)
LAYOUTS: Mapping[str, Layout] = {
    "vxlan": _LAN._replace(link=3, remote=(2, 16), local=(4, 17), external=25, port=15, no_ethernet=27),
    "geneve": _LAN._replace(remote=(2, 7), external=6, port=5, no_ethernet=14),
    "wireguard": Layout(8 + 32),
    "gre": _GRE,
    "gretap": _GRE._replace(base=4 + ETHERNET),
    "ip6gre": _GRE._replace(outer6=True, limit_flags=13),
    "ip6gretap": _GRE._replace(base=4 + ETHERNET, outer6=True, limit_flags=13),
    "ipip": _IPTUN,
    "sit": _IPTUN,
    "ip6tnl": _IPTUN._replace(outer6=True, limit_flags=8),
}


class Tunnel(NamedTuple):
    """One tunnel as far as its own attributes say."""

    overhead: int
    link: int
    """Index of the device that it is bound to; 0: none."""
    remote: str
    """Unicast address of the other end; empty where there is none or several."""
    family: int
    """Of the outer header: AF_INET, AF_INET6; AF_UNSPEC (0) where neither address nor kind tells."""
    details: dict[str, str]


def read(kind: str, data: Mapping[int, bytes]) -> Tunnel | None:
    """Return what the attributes of a link say; ``None`` where the kind is no tunnel that is known here."""
    layout = LAYOUTS.get(kind)
    if layout is None:
        return None
    remote, local = _address(data, layout.remote), _address(data, layout.local)
    details = {"remote": remote, "local": local}
    if layout.identity in data:
        details["id"] = str(_native(data, layout.identity))
    if layout.port in data:
        details["port"] = str(int.from_bytes(data[layout.port], "big"))
    if data.get(layout.external, b"\0") != b"\0":
        details["external"] = "1"  # VXLAN has it as a byte, the others as a flag without value
    v6 = layout.outer6 or ":" in (remote or local)
    family = AF_INET6 if v6 else AF_INET if remote or local else 0
    return Tunnel(
        overhead=layout.base + (IP6 if v6 else IP) + _options(layout, data),
        link=_native(data, layout.link),
        remote="" if _multicast(remote) else remote,
        family=family,
        details={name: text for name, text in details.items() if text},
    )


def _options(layout: Layout, data: Mapping[int, bytes]) -> int:
    flags = int.from_bytes(data.get(layout.options, b""), "big") if layout.options else 0
    extra = sum(4 for bit in GRE_OPTIONS if flags & bit)
    if layout.limit_flags and not _native(data, layout.limit_flags) & 1:
        extra += ENCAP_LIMIT
    if layout.encapsulation:
        extra += FOU.get(_native(data, layout.encapsulation), 0)
    if layout.no_ethernet and layout.no_ethernet in data:
        extra -= ETHERNET
    return extra


def _native(data: Mapping[int, bytes], attribute: int) -> int:
    return int.from_bytes(data.get(attribute, b""), sys.byteorder) if attribute else 0


def _address(data: Mapping[int, bytes], attributes: tuple[int, ...]) -> str:
    """Return the first of the attributes that holds an address other than the unspecified one."""
    for attribute in attributes:
        value = data.get(attribute, b"")
        if any(value) and len(value) in {4, 16}:
            return inet_ntop(AF_INET if len(value) == 4 else AF_INET6, value)
    return ""


def _multicast(address: str) -> bool:
    if ":" in address:
        return address.startswith("ff")
    return bool(address) and 224 <= int(address.partition(".")[0]) < 240
