"""net.ipv4.conf.<interface>.* of all interfaces from one dump, where each file would take three system calls.

RTM_GETLINK tells them in IFLA_AF_SPEC / AF_INET / IFLA_INET_CONF: an array of u32, in the order of IPV4_DEVCONF_* in
include/uapi/linux/ip.h, to which kernels append (net/ipv4/devinet.c, inet_fill_link_af).
"""

from __future__ import annotations

from socket import AF_INET
from struct import Struct

from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attribute, attributes, text

RTM_GETLINK = 18
IFLA_IFNAME, IFLA_AF_SPEC, IFLA_EXT_MASK = 3, 26, 29
IFLA_INET_CONF = 1
RTEXT_FILTER_SKIP_STATS = 8
IFINFOMSG_SIZE = 16
PLACES = {
    "forwarding": 0, "proxy_arp": 2, "accept_redirects": 3, "secure_redirects": 4, "send_redirects": 5, "rp_filter": 7,
    "accept_source_route": 8, "log_martians": 10, "arp_filter": 12, "arp_announce": 17, "arp_ignore": 18,
    "arp_accept": 20, "arp_notify": 21, "accept_local": 22, "src_valid_mark": 23, "route_localnet": 25,
}  # fmt: skip
"""Setting -> its place, IPV4_DEVCONF_* less one."""
_skip = Struct("=I").pack(RTEXT_FILTER_SKIP_STATS)
_values = Struct(f"={max(PLACES.values()) + 1}i")


def read() -> dict[str, dict[str, str]]:
    """Return the settings by interface, as their files show them; an interface without IPv4 is left out.

    Raises OSError.
    """
    found = {}
    with Netlink(NETLINK_ROUTE) as nl:
        for _, payload in nl.dump(RTM_GETLINK, bytes(IFINFOMSG_SIZE) + attribute(IFLA_EXT_MASK, _skip)):
            link = attributes(payload, IFINFOMSG_SIZE)
            conf = attributes(attributes(link.get(IFLA_AF_SPEC, b"")).get(AF_INET, b"")).get(IFLA_INET_CONF, b"")
            if len(conf) >= _values.size:
                values = _values.unpack_from(conf)
                found[text(link[IFLA_IFNAME])] = {name: str(values[place]) for name, place in PLACES.items()}
    return found
