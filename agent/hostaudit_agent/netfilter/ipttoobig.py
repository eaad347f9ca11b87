"""Asks legacy iptables what becomes of the ICMP messages of path MTU discovery."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import paths, xtables, xtmatch
from hostaudit_agent.netfilter.chains import Found
from hostaudit_agent.netfilter.paths import INTERFACE, OTHER, Match, Packet
from hostaudit_agent.snapshot import TooBigDrop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostaudit_agent.netfilter.chains import Reading
    from hostaudit_agent.netfilter.iptrules import Judgement
    from hostaudit_agent.netfilter.xtables import Entry, Table

BACKEND = "iptables-legacy"
INVERT_IN, INVERT_OUT, INVERT_FRAGMENT, INVERT_PROTOCOL = 1, 2, 32, 64
F_FRAGMENT = 1
_length = struct.Struct("=H").unpack_from
STATE_FLAGS = 1 | 1 << 13  # XT_CONNTRACK_STATE and _ALIAS


def too_big(table: Table, judgement: Judgement, reading: Reading) -> None:
    """Add where such messages die, of each base chain of one table."""
    blob = table.blob
    family = blob.family.name
    for chain in table.chains:
        if not chain.hook:
            continue
        policy = xtables.entry(blob, blob.underflows[chain.hook])
        verdict = policy.target.lower()
        if not chain.rules and verdict == "accept":
            continue
        part = f"{BACKEND}/{family}/{blob.table}/{chain.name}"
        try:
            message = paths.ends(chain.name, verdict, _Steps(judgement, paths.TOO_BIG[family]))
            if not any(end.dropped for end in message):
                continue
            found = paths.blocked(message, paths.ends(chain.name, verdict, _Steps(judgement, paths.SEGMENTS[family])))
        except paths.TooLongError:
            reading.unread.append((f"{part}.too_big", f"more than {paths.MOST_STEPS} rules: not followed"))
            continue
        if found is None:
            continue
        name, index = found.place
        entry = _entry(judgement, name, index) if index else policy
        text = judgement.text(judgement.by_name[name], entry) if index else f"-P {chain.name} {policy.target}"
        drop = TooBigDrop(BACKEND, family, blob.table, chain.name, chain.hook, name, index, text)
        drop.icmp_only = bool(index) and _protocol(entry, family) == paths.TOO_BIG[family].protocol
        drop.narrowed, drop.packets = "".join(found.narrow[:1]), entry.packets
        reading.too_big.append(Found(drop, ("too_big", BACKEND, family, blob.table, chain.name, name, text)))


def _entry(judgement: Judgement, name: str, index: int) -> Entry:
    offset = judgement.by_name[name].first
    for _ in range(index - 1):
        offset += xtables.entry(judgement.blob, offset).length
    return xtables.entry(judgement.blob, offset)


class _Steps:
    """The rules of a chain that a packet may meet."""

    def __init__(self, judgement: Judgement, packet: Packet) -> None:
        self.judgement, self.packet = judgement, packet

    def __call__(self, name: str) -> Iterator[Match]:
        chain, blob = self.judgement.by_name[name], self.judgement.blob
        offset, data, next_at = chain.first, blob.data, blob.family.offsets + 2
        number_at, invert_at = (80, 83) if self.packet.family == "ip" else (128, 132)
        for index in range(1, chain.rules + 1):
            asked = data[offset + number_at]  # of two bytes, in the machine's order; no protocol needs the other one
            if asked and asked != self.packet.protocol and not data[offset + invert_at] & INVERT_PROTOCOL:
                offset += _length(data, offset + next_at)[0]  # what ``_meets`` says of it, of most rules, at less cost
                continue
            entry = xtables.entry(blob, offset)
            offset += entry.length
            met = _meets(entry, self.packet)
            if met is not None:
                narrow, aware = met
                target = self.judgement.by_start[entry.goes_to].name if entry.goes_to in self.judgement.by_start else ""
                yield Match((name, index), self.judgement.verdict(entry), target, narrow, aware)


def _protocol(entry: Entry, family: str) -> int:
    """Return the protocol that a rule asks for; 0: any, or all but one."""
    inverted = entry.ip[83 if family == "ip" else 132] & INVERT_PROTOCOL
    (number,) = struct.unpack_from("=H", entry.ip, 80 if family == "ip" else 128)
    return 0 if inverted else int(number)


def _meets(entry: Entry, packet: Packet) -> tuple[tuple[str, ...], bool] | None:
    """Return what narrows the rule, and whether it chose such packets; ``None`` where it does not match them."""
    ip, four = entry.ip, packet.family == "ip"
    (number,) = struct.unpack_from("=H", ip, 80 if four else 128)
    invert = ip[83 if four else 132]
    if number and (number == packet.protocol) == bool(invert & INVERT_PROTOCOL):
        return None
    aware, narrow = bool(number), []
    if four and ip[82] & F_FRAGMENT and not invert & INVERT_FRAGMENT:
        return None
    if ip[8:16].strip(b"\0") if four else ip[32:64].strip(b"\0"):
        narrow.append(OTHER)
    names = ip[16:80] if four else ip[64:128]
    for bit, name, mask in ((INVERT_IN, names[0:16], names[32:48]), (INVERT_OUT, names[16:32], names[48:64])):
        if mask.strip(b"\0"):
            loopback = xtmatch.interface(name, mask) == "lo"
            if loopback and not invert & bit:
                return None  # what comes from elsewhere is asked for
            narrow += [] if loopback else [INTERFACE]
    for match, revision, info in entry.matches:
        met = _match(match, revision, info, packet)
        if met is None:
            return None
        narrow += met[0]
        aware = aware or met[1]
    return tuple(dict.fromkeys(narrow)), aware


def _match(name: str, revision: int, info: bytes, packet: Packet) -> tuple[list[str], bool] | None:
    """Return the same of one match."""
    try:
        states = xtmatch.states(name, revision, info)
    except xtmatch.Unknown:
        return [OTHER], True
    if states is not None:
        more = name == "conntrack" and struct.unpack_from("=H", info, xtmatch.CONNTRACK_FLAGS_AT)[0] & ~STATE_FLAGS
        return ([OTHER] if more else [], True) if packet.state in states else None
    if name in ("icmp", "icmp6"):
        meets = xtmatch.icmp_meets(info, packet.kind, packet.code)
        return ([], True) if meets else None
    return ([], False) if name == "comment" else ([INTERFACE], False) if name == "physdev" else ([OTHER], False)
