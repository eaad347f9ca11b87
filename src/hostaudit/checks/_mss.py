"""Which rules lower the MSS of connections over an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit_agent.snapshot import Firewall

_PASSING = frozenset({"forward", "postrouting"})
"""Hooks where both interfaces of a forwarded packet are known, or one is left to be matched (postrouting)."""


def ways(firewall: Firewall, name: str) -> tuple[set[str], set[str]]:
    """Return the sizes (``pmtu`` or bytes) to which rules lower the MSS out of an interface, and in through it.

    A SYN's MSS limits what comes back, and a SYN-ACK's what goes out: one way is half a clamp, and none.
    """
    rules = [rule for rule in firewall.mss if _PASSING.intersection(rule.hooks)]
    out = {rule.size for rule in rules if not rule.in_interface and _covers(rule.out_interface, name)}
    back = {rule.size for rule in rules if not rule.out_interface and _covers(rule.in_interface, name)}
    return out, back


def _covers(wanted: str, name: str) -> bool:
    if wanted.startswith("! "):
        return not _covers(wanted[2:], name)
    if wanted == "...":
        return True
    return not wanted or wanted == name or (wanted.endswith("+") and name.startswith(wanted[:-1]))
