"""What probes saw, and what follows from it: verdicts, percentiles, patterns. Pure.

A probe has a vantage point, the host that sent the packets: a host of the inventory, or ``HERE``, the controller. The
classes are what ``hostaudit probe --format json`` prints (schema ``hostaudit.probe/1``) and what the checks of
``run --probe`` are given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hostaudit.probed.answers import Arp, Dns, Mtu, Owner, Tls
from hostaudit.probed.handshakes import FAILED, WORDS, Series, Try, Verdict, by_target, partial_names

__all__ = [
    "FAILED",
    "HERE",
    "SCHEMA",
    "WORDS",
    "Arp",
    "Dns",
    "Mtu",
    "Owner",
    "Probes",
    "Series",
    "Tls",
    "Try",
    "Vantage",
    "Verdict",
    "by_target",
    "partial_names",
]
SCHEMA = "hostaudit.probe/1"
HERE = "here"
"""The vantage point that is the controller itself."""


@dataclass(frozen=True, slots=True)
class Vantage:
    """Where probes were sent from."""

    name: str
    status: str = "ok"
    """``ok`` or ``unreachable``."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """Everything that was probed."""

    vantages: tuple[Vantage, ...] = ()
    tcp: tuple[Series, ...] = ()
    arp: tuple[Arp, ...] = ()
    mtu: tuple[Mtu, ...] = ()
    tls: tuple[Tls, ...] = ()
    dns: tuple[Dns, ...] = ()

    def reached(self) -> Probes:
        """Return the same without what vantage points could not ask that were not reached."""
        lost = {vantage.name for vantage in self.vantages if vantage.status != "ok"}
        return replace(
            self,
            tcp=tuple(one for one in self.tcp if one.vantage not in lost),
            arp=tuple(one for one in self.arp if one.vantage not in lost),
            mtu=tuple(one for one in self.mtu if one.vantage not in lost),
            tls=tuple(one for one in self.tls if one.vantage not in lost),
            dns=tuple(one for one in self.dns if one.vantage not in lost),
        )
