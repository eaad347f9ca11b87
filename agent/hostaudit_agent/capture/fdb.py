"""Which bridge port leads to which MAC address: the forwarding tables of this host's bridges, by rtnetlink.

RTM_GETNEIGH with family AF_BRIDGE (include/uapi/linux/neighbour.h). Entries of the bridge's own ports are permanent and
left out; what a port has learned is forgotten after 300 s of silence.
"""

from __future__ import annotations

from struct import Struct

from hostaudit_agent.netlink import NETLINK_ROUTE, Netlink, attributes

AF_BRIDGE, RTM_GETNEIGH = 7, 30
NDA_LLADDR, NDA_MASTER = 2, 9
NUD_PERMANENT = 0x80
MOST = 8192
_message = Struct("=BxxxiHBB")
"""struct ndmsg: family, index, state, flags, type"""
_link = Struct("=BxHiII")
"""struct ifinfomsg: what br_fdb's dump takes as a request on every kernel."""


def read(names: dict[int, str]) -> dict[str, str]:
    """Return MAC address -> name of the port, for at most ``MOST`` learned entries. OSError where it fails."""
    found: dict[str, str] = {}
    with Netlink(NETLINK_ROUTE) as nl:
        for _, payload in nl.dump(RTM_GETNEIGH, _link.pack(AF_BRIDGE, 0, 0, 0, 0)):
            _, index, state, _, _ = _message.unpack_from(payload)
            a = attributes(payload, _message.size)
            if state & NUD_PERMANENT or NDA_MASTER not in a or len(found) >= MOST:
                continue
            found[a.get(NDA_LLADDR, b"").hex(":")] = names.get(index, str(index))
    return found
