"""Where a backend answers its neighbour directly, although the neighbour called another address. Pure.

A rule translates the destination (DNAT) to an address in a network of this host. A client in the same network has its
packet translated, and the answer goes from the backend straight to it: nobody translates it back, and the client
resets what comes from an address that it never called. Translating the source as well makes the answer come back
through this host; so does a bridge whose frames meet connection tracking (br_netfilter).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.checks import _links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit.checks._links import Network
    from hostaudit_agent.snapshot import Link, NatRule, Snapshot

_TARGET = re.compile(r"(?:--to-destination|\bdnat to) \[?(?P<to>[0-9a-f:]*:[0-9a-f:]+|[0-9.]+)")


@dataclass(frozen=True, slots=True)
class Way:
    """One rule, and the network whose clients it breaks."""

    rule: NatRule
    to: str
    """The backend."""
    network: Network
    interface: str

    @property
    def called(self) -> str:
        """The address that clients call."""
        return self.rule.destination.partition("/")[0] or "any address"


def ways(snapshot: Snapshot) -> list[Way]:
    """Return the rules that break a network; none where the firewall or the interfaces were not read."""
    if snapshot.firewall is None or snapshot.link is None:
        return []
    return [way for rule in translating(snapshot) for way in _of_rule(snapshot, rule)]


def translating(snapshot: Snapshot) -> list[NatRule]:
    """Return the rules that translate the destination of what comes in, those of Services left out."""
    rules = snapshot.firewall.nat if snapshot.firewall else []
    return [rule for rule in rules if rule.kind == "dnat" and "prerouting" in rule.hooks]


def _of_rule(snapshot: Snapshot, rule: NatRule) -> Iterator[Way]:
    found = _TARGET.search(rule.text)
    if found is None or snapshot.link is None:
        return
    try:
        to = ipaddress.ip_address(found["to"])
    except ValueError:
        return
    for link in _links.up(snapshot.link):
        if not _interface(rule.in_interface, link.name) or _comes_back(snapshot, link, to.version):
            continue
        for network in _links.networks(link):
            own = f"{to}/{network.prefixlen}" in link.addresses
            if to in network and not own and _prefix(rule.source, network) and not _source_too(snapshot, link, network):
                yield Way(rule, str(to), network, link.name)


def _comes_back(snapshot: Snapshot, link: Link, version: int) -> bool:
    """Say whether answers between ports of this bridge meet connection tracking, which translates them back."""
    assert snapshot.firewall is not None  # noqa: S101 - ways
    assert snapshot.link is not None  # noqa: S101 - ways
    if link.kind != "bridge":
        return False
    tables = "iptables" if version == 4 else "ip6tables"
    own = snapshot.firewall.bridges.get(link.name, {}).get(f"nf_call_{tables}")
    guests = all(port.kind in _links.GUEST_KINDS for port in _links.ports(snapshot.link, link.name))
    return guests and bool(snapshot.firewall.bridge_nf_call.get(tables) or own)


def _source_too(snapshot: Snapshot, link: Link, network: Network) -> bool:
    """Say whether a rule may translate the source of what goes from this network back into it."""
    assert snapshot.firewall is not None  # noqa: S101 - ways
    family = "ip" if network.version == 4 else "ip6"
    return any(
        rule.kind in {"masquerade", "snat"}
        and "postrouting" in rule.hooks
        and rule.family in {"inet", family}
        and _interface(rule.out_interface, link.name)
        and _prefix(rule.source, network)
        and _prefix(rule.destination, network)
        for rule in snapshot.firewall.nat
    )


def _interface(wanted: str, name: str) -> bool:
    """Say whether a rule that asks for an interface (``! eth0``, ``eth+``; empty: any) may mean this one."""
    text = wanted.removeprefix("! ")
    same = text in {"", "..."} or text == name or (text.endswith("+") and name.startswith(text[:-1]))
    return same if text in {"", "..."} else same != wanted.startswith("! ")


def _prefix(wanted: str, network: Network) -> bool:
    """Say whether a rule that asks for a prefix (``! 10.0.0.0/8``; empty or a set: any) takes packets of a network."""
    text = wanted.removeprefix("! ")
    try:
        prefix = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return True
    if prefix.version != network.version:
        return False
    if wanted.startswith("! "):
        return not network.subnet_of(prefix)  # type: ignore[arg-type]  # of one version, as was asked
    return prefix.overlaps(network)
