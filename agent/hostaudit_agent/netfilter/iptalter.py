"""NAT and TCPMSS rules of legacy iptables."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import xtables, xtalter, xtmatch
from hostaudit_agent.netfilter.chains import MOST_ALTERING, MOST_DNAT, Dnat, Found
from hostaudit_agent.snapshot import MssRule, NatRule

if TYPE_CHECKING:
    from hostaudit_agent.netfilter.chains import Graph, Reading
    from hostaudit_agent.netfilter.iptrules import Judgement
    from hostaudit_agent.netfilter.xtables import Blob, Chain, Entry, Table

BACKEND = "iptables-legacy"
INVERT_IN, INVERT_OUT, INVERT_SOURCE, INVERT_TARGET = 1, 2, 8, 16


def alterations(table: Table, graph: Graph, judgement: Judgement, reading: Reading) -> None:
    """Add the rules of one table that change packets; of those to backends of Services the addresses only."""
    part = f"{BACKEND}/{table.blob.family.name}/{table.blob.table}"
    hooks: dict[str, list[str]] = {}
    repeated: dict[tuple[str, str], int] = {}
    taken = 0
    for chain, index, offset in table.altering:
        name, info = _target(table.blob, offset)
        if name == "DNAT":
            _dnat(table.blob, chain, offset, info, reading)
            if chain.name.startswith("KUBE-"):
                continue
        taken += 1
        if taken > MOST_ALTERING:
            reading.unread.append((part, f"more than {MOST_ALTERING} rules that change packets: the rest was not read"))
            return
        if chain.name not in hooks:
            hooks[chain.name] = graph.hooks(chain.name)
        entry = xtables.entry(table.blob, offset)
        text = judgement.text(chain, entry)
        repeated[chain.name, text] = repeated.get((chain.name, text), 0) + 1
        key = (BACKEND, table.blob.family.name, table.blob.table, chain.name, text, repeated[chain.name, text])
        where = (BACKEND, table.blob.family.name, table.blob.table, chain.name, index, text)
        source, target, inside, outside = _limits(entry)
        if name == "TCPMSS":
            mss = MssRule(*where, xtalter.mss(info), inside, outside, hooks[chain.name], entry.packets)
            reading.mss.append(Found(mss, key))
        else:
            marked = any(xtalter.marked(match, content) for match, _, content in entry.matches)
            sets = [match for match, _, _ in entry.matches if match == "set"]
            nat = NatRule(*where, xtalter.NAT[name], source or "..." * bool(sets), target, inside, outside)
            nat.marked, nat.hooks, nat.packets = marked, hooks[chain.name], entry.packets
            reading.nat.append(Found(nat, key))


def _target(blob: Blob, offset: int) -> tuple[str, bytes]:
    """Return name and content of a rule's target, without taking the rule apart: there may be ten thousand."""
    target_at, length = struct.unpack_from("=HH", blob.data, offset + blob.family.offsets)
    at = offset + target_at
    name = blob.data[at + 2 : at + 31]
    return xtmatch.string(name), blob.data[at + xtables.MATCH_HEADER : offset + length]


def _dnat(blob: Blob, chain: Chain, offset: int, info: bytes, reading: Reading) -> None:
    """Note the first address that a DNAT rule sends packets to."""
    if len(reading.dnat) >= MOST_DNAT:
        return
    found = xtalter.Range(info, blob.family.name)
    if found.flags & xtalter.MAP_ADDRESSES:
        (packets,) = struct.unpack_from("=Q", blob.data, offset + blob.family.counters)
        key = ("dnat", BACKEND, blob.family.name, chain.name, found.first, found.low)
        reading.dnat.append(Dnat(found.first, chain.name, key, packets))


def _limits(entry: Entry) -> tuple[str, str, str, str]:
    """Return source, destination, incoming and outgoing interface that a rule asks for."""
    ip = entry.ip
    wide = len(ip) != 84  # struct ip6t_ip6
    domain, size = (socket.AF_INET6, 16) if wide else (socket.AF_INET, 4)
    invert = ip[132] if wide else ip[83]
    fields = [ip[size * n : size * (n + 1)] for n in range(4)]  # source, destination, and their masks
    names = ip[4 * size : 4 * size + 64]
    source = _prefix(domain, fields[0], fields[2], inverted=bool(invert & INVERT_SOURCE))
    target = _prefix(domain, fields[1], fields[3], inverted=bool(invert & INVERT_TARGET))
    inside = _name(names[0:16], names[32:48], inverted=bool(invert & INVERT_IN))
    outside = _name(names[16:32], names[48:64], inverted=bool(invert & INVERT_OUT))
    return source, target, inside, outside


def _prefix(domain: int, network: bytes, mask: bytes, *, inverted: bool) -> str:
    if not mask.strip(b"\0"):
        return ""
    length = bin(int.from_bytes(mask, "big")).count("1")
    return f"{'! ' if inverted else ''}{socket.inet_ntop(domain, network)}/{length}"


def _name(name: bytes, mask: bytes, *, inverted: bool) -> str:
    return ("! " if inverted else "") + xtmatch.interface(name, mask) if mask.strip(b"\0") else ""
