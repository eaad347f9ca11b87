"""Names of expressions as they stand in a rule's message, to tell which of ten thousand rules deserve a closer look.

NFTA_EXPR_NAME, _MATCH_NAME and _TARGET_NAME are all attribute 1, so the same bytes name an expression of nf_tables and
a match or target of xtables inside one.
"""

from __future__ import annotations

from struct import Struct

from hostaudit_agent.netlink import attribute, attribute_header


def _named(name: bytes) -> bytes:
    """Return a string attribute as it stands in a message."""
    return attribute_header.pack(5 + len(name), 1) + name + b"\0"


STATE = tuple(_named(name) for name in (b"ct", b"conntrack", b"state", b"notrack", b"CT", b"NOTRACK"))
"""What looks at connection tracking."""
ALTERING = tuple(
    _named(name)
    for name in (b"masq", b"nat", b"redir", b"MASQUERADE", b"SNAT", b"DNAT", b"REDIRECT", b"TCPMSS", b"exthdr")
)
"""What changes packets; an ``exthdr`` that only matches is sorted out later."""
JUMPS = tuple(attribute(1, Struct(">i").pack(code)) for code in (-3, -4))
"""NFTA_VERDICT_CODE jump and goto; NFTA_VERDICT_CHAIN follows."""
LOOKUP = _named(b"lookup")
