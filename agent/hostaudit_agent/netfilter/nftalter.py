"""NAT and MSS rules of nf_tables, native ones and those of iptables-nft, and their words.

Attributes of the expressions ``masq``, ``nat``, ``redir``, ``exthdr`` and ``rt``: include/uapi/linux/netfilter/
nf_tables.h. A source of ``rt mtu`` (NFT_RT_TCPMSS) is the MSS that the route's MTU allows.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import xtalter
from hostaudit_agent.netfilter.chains import MOST_ALTERING, MOST_DNAT, Dnat, Found
from hostaudit_agent.netfilter.nftexpr import counter, number
from hostaudit_agent.netfilter.nftread import FAMILIES, Key, rule
from hostaudit_agent.netlink import attributes, text
from hostaudit_agent.snapshot import MssRule, NatRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.chains import Reading
    from hostaudit_agent.netfilter.nftexpr import Expression
    from hostaudit_agent.netfilter.nftread import RawRule, Ruleset

TCP_OPTION, MAXSEG = 1, 2  # NFT_EXTHDR_OP_TCPOPT; TCPOPT_MSS
RT_TCPMSS = 3
SOURCES, TARGETS = ("ip saddr", "ip6 saddr"), ("ip daddr", "ip6 daddr")
INSIDE, OUTSIDE = ("iifname", "iif"), ("oifname", "oif")
MARKS = ("meta mark", "ct mark")


def alterations(
    ruleset: Ruleset,
    backend: Callable[[Key], str],
    hooks: Callable[[Key], list[str]],
    show: Callable[[RawRule], tuple[str, list[tuple[str, str, str]]]],
    reading: Reading,
) -> None:
    """Add the rules that change packets. ``show`` returns a rule's text and its conditions."""
    taken = 0
    reached: dict[Key, list[str]] = {}
    for key, index, payload in ruleset.altering:
        raw = rule(key, index, payload)
        kind, address = _what(raw.program, FAMILIES.get(key.family, ""))
        if not kind:
            continue
        service = key.chain.startswith("KUBE-") or key.table == "kube-proxy"
        if kind == "dnat" and address and len(reading.dnat) < MOST_DNAT:
            where = f"{key.table}/{key.chain}" if backend(key) == "nftables" else key.chain
            packets = _counted(raw.program)
            name = ("dnat", key.family, key.table, key.chain, raw.handle)
            reading.dnat.append(Dnat(address, where, name, packets))
        if kind == "dnat" and service:
            continue
        taken += 1
        if taken > MOST_ALTERING:
            reading.unread.append(
                (f"nftables/{key.table}", f"more than {MOST_ALTERING} rules that change packets: the rest was not read")
            )
            return
        if key not in reached:
            reached[key] = hooks(key)
        shown, conditions = show(raw)
        where_ = (backend(key), FAMILIES.get(key.family, str(key.family)), key.table, key.chain, index, shown)
        source, target, inside, outside = (_limit(conditions, w) for w in (SOURCES, TARGETS, INSIDE, OUTSIDE))
        packets = _counted(raw.program)
        known = ("nft", key.family, key.table, key.chain, raw.handle)
        if kind == "mss":
            reading.mss.append(Found(MssRule(*where_, address, inside, outside, reached[key], packets), known))
            continue
        if not source and any(what.startswith("-m set ") for what, _, _ in conditions):
            source = "..."
        nat = NatRule(*where_, kind, source, target, inside, outside)
        nat.marked = any(what in MARKS or what.startswith("-m mark") for what, _, _ in conditions)
        nat.hooks, nat.packets = reached[key], packets
        reading.nat.append(Found(nat, known))


def _limit(conditions: list[tuple[str, str, str]], wanted: tuple[str, ...]) -> str:
    """Return what a rule asks of an address or interface, as ``NatRule`` has it."""
    for what, operator, value in conditions:
        if what in wanted and operator in ("", "== ", "!= "):
            shown = "..." if value.startswith(("@", "{")) else value.strip('"').replace("*", "+")
            if what in SOURCES + TARGETS and "/" not in shown and shown != "...":
                shown += "/128" if ":" in shown else "/32"
            return ("! " if operator == "!= " else "") + shown
    return ""


def _what(program: list[Expression], family: str) -> tuple[str, str]:
    """Return what a rule does to packets (``masquerade``, ``snat``, ``dnat``, ``redirect``, ``mss``), and to what."""
    values: dict[int, bytes | None] = {}
    for name, data in program:
        if name == "immediate" and number(data[1]):
            values[number(data[1])] = attributes(data[2]).get(1, b"")
        elif name == "rt" and 1 in data:
            values[number(data[1])] = None
        elif name == "masq":
            return "masquerade", ""
        elif name == "redir":
            return "redirect", ""
        elif name == "nat":
            value = values.get(number(data[3])) if 3 in data else None
            return "dnat" if number(data[1]) else "snat", _address(value)
        elif name == "exthdr" and 7 in data and number(data.get(6, b"")) == TCP_OPTION and number(data[2]) == MAXSEG:
            value = values.get(number(data[7]))
            return "mss", str(number(value)) if value else "pmtu"
        elif name == "target":
            target, info = text(data[1]), data.get(3, b"")
            if target == "TCPMSS" and len(info) >= 2:
                return "mss", xtalter.mss(info)
            if target in xtalter.NAT:
                found = xtalter.Range(info, family)
                return xtalter.NAT[target], found.first if found.flags & xtalter.MAP_ADDRESSES else ""
    return "", ""


def _address(value: bytes | None) -> str:
    if value is None or len(value) not in (4, 16):
        return ""
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def _counted(program: list[Expression]) -> int | None:
    found = [counter(expression.data)[0] for expression in program if expression.name == "counter"]
    return found[-1] if found else None


def words(name: str, data: dict[int, bytes], values: dict[int, str]) -> str:
    """Return the statement in the words of nft; ``values`` is what the registers hold. Empty for any other."""
    if name == "masq":
        return "masquerade" + _flags(number(data.get(1, b"")))
    if name == "redir":
        return "redirect" + (f" to :{values.get(number(data[1]), '?')}" if 1 in data else "")
    if name == "nat":
        address = _shown(values.get(number(data[3]), "?"), 4) if 3 in data else ""
        port = ":" + _shown(values.get(number(data[5]), "?"), 2) if 5 in data else ""
        return f"{'dnat' if number(data[1]) else 'snat'} to {address}{port}" + _flags(number(data.get(7, b"")) & ~3)
    if name == "exthdr" and 7 in data:
        size = values.get(number(data[7]), "?")
        option = "maxseg size" if number(data[2]) == MAXSEG else str(number(data[2]))
        return f"tcp option {option} set {'rt mtu' if size.startswith('rt') else _shown(size, 2)}"
    return ""


def _flags(flags: int) -> str:
    named = ((xtalter.RANDOM, "random"), (xtalter.FULLY, "fully-random"), (xtalter.PERSISTENT, "persistent"))
    shown = ",".join(name for bit, name in named if flags & bit)
    return f" {shown}" if shown else ""


def _shown(value: str, size: int) -> str:
    """Return a register's content, ``0x0a000001``, as an address (4, or 16 bytes) or as a number (2)."""
    try:
        raw = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        return value
    if size == 2:
        return str(int.from_bytes(raw, "big"))
    return _address(raw) or value
