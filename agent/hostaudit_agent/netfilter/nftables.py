"""Finds out whether nf_tables holds anything, and has it read and judged.

What that takes is imported only where there is a table: the agent is compiled anew on every run.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter.chains import Reading
from hostaudit_agent.netlink import NETLINK_NETFILTER, Netlink
from hostaudit_agent.presence import has_module

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

PART = "nftables"
GET_TABLE = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
NFGENMSG = bytes(4)
ATTEMPTS = 3
MALFORMED = (KeyError, IndexError, ValueError, struct.error)  # of an answer that lacks what it should have


def read(root: Root) -> Reading:
    """Read all families; what could not be read is in ``unread``."""
    reading = Reading()
    present = has_module(root, "nf_tables", "nf_tables_newrule")
    if present is None:
        reading.unread.append((PART, "cannot tell whether the kernel has nf_tables without making it load nf_tables"))
    if not present:
        return reading
    try:
        with Netlink(NETLINK_NETFILTER, timeout=20.0) as nl:
            return _read(nl)
    except PermissionError:
        reading.unread.append((PART, "needs CAP_NET_ADMIN"))
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:  # no nfnetlink at all
            reading.unread.append((PART, error.strerror or str(error)))
    except MALFORMED as error:
        reading.unread.append((PART, f"malformed netlink answer: {error!r}"))
    return reading


def _read(nl: Netlink) -> Reading:
    try:
        if not nl.dump(GET_TABLE, NFGENMSG):
            return Reading()
    except OSError as error:
        if error.errno == errno.EINVAL:  # nfnetlink has no such subsystem
            return Reading()
        raise
    from hostaudit_agent.netfilter import nftread, nftrules  # noqa: PLC0415 - see above

    reading = Reading()
    for _ in range(ATTEMPTS):
        ruleset = nftread.Ruleset(nl)
        reading = nftrules.judge(ruleset)
        if nftread.generation(nl) == ruleset.generation:
            return reading
    reading.unread.append((PART, f"the ruleset changed each of the {ATTEMPTS} times it was read"))
    return reading
