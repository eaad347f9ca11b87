"""Runs a rule of nf_tables for a packet of which more is known than the state: its protocol, and an ICMP type and code.

Everything else that a rule loads stays unknown and narrows it, the loopback interface excepted: the packets that are
asked for come from elsewhere, or go there.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import paths, xtmatch
from hostaudit_agent.netfilter.nftexpr import number
from hostaudit_agent.netfilter.nftrun import Machine
from hostaudit_agent.netfilter.paths import INTERFACE, OTHER, Match, Packet
from hostaudit_agent.netlink import attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.netfilter.nftexpr import Expression, Set
    from hostaudit_agent.netfilter.nftread import RawRule

# enum nft_meta_keys
META_PROTOCOL, META_NFPROTO, META_L4PROTO = 1, 15, 16
META_INTERFACES = frozenset((4, 5, 6, 7, 17, 18, 20, 21))
INDEX_KEYS = frozenset((4, 5))
NETWORK, TRANSPORT = 1, 2  # NFT_PAYLOAD_*_HEADER
NFPROTO, ETHERTYPE = {"ip": 2, "ip6": 10}, {"ip": 0x0800, "ip6": 0x86DD}
PROTOCOL_AT = {"ip": 9, "ip6": 6}
FAMILY, LOOPBACK, CHOSEN = "family", "loopback", "chosen"


class PacketMachine(Machine):
    """Runs a rule for a packet of which more is known than its state."""

    def __init__(self, packet: Packet, find_set: Callable[[str], Set]) -> None:
        super().__init__(packet.state, find_set)
        self.packet = packet
        self.narrows: list[str] = []
        self.holds: dict[int, str] = {}
        """Register -> what kind of thing is in it: INTERFACE, FAMILY."""
        self.aware = False

    def step(self, name: str, data: dict[int, bytes]) -> None:
        """Run one expression."""
        if name == "meta" and 1 in data:
            self.meta(number(data[1]), number(data[2]))
        elif name == "payload" and 1 in data:
            self.payload(number(data[1]), number(data[2]), number(data[3]), number(data[4]))
        else:
            super().step(name, data)
            if name == "ct" and 1 in data:
                self.holds.pop(number(data[1]), None)

    def meta(self, register: int, key: int) -> None:
        """Load what ``meta`` loads."""
        value, kind = None, ""
        if key == META_L4PROTO:
            value = bytes([self.packet.protocol])
        elif key == META_NFPROTO:
            value, kind = bytes([NFPROTO[self.packet.family]]), FAMILY
        elif key == META_PROTOCOL:
            value, kind = struct.pack(">H", ETHERTYPE[self.packet.family]), FAMILY
        elif key in META_INTERFACES:
            kind = INTERFACE
        self.store(register, value, len(value) if value else 16)
        self.holds[register] = kind

    def payload(self, register: int, base: int, offset: int, length: int) -> None:
        """Load a part of a header: the protocol, type and code are known."""
        value = None
        if base == NETWORK and offset == PROTOCOL_AT[self.packet.family] and length == 1:
            value = bytes([self.packet.protocol])
        elif base == TRANSPORT and self.packet.kind >= 0 and offset + length <= 2:
            value = bytes([self.packet.kind, self.packet.code])[offset : offset + length]
        self.store(register, value, length)
        self.holds[register] = ""

    def narrow(self) -> None:
        """Note that something else has to match."""
        super().narrow()
        self.narrows.append(OTHER)

    def cmp(self, data: dict[int, bytes]) -> None:
        """Compare; ``lo`` is known not to be the interface."""
        register, wanted = number(data[1]), attributes(data[3])[1]
        kind = self.holds.get(register, "")
        if kind == INTERFACE and (wanted.rstrip(b"\0") == b"lo" or wanted == struct.pack("=I", 1)):
            self.out.matched = number(data[2]) == 1  # NFT_CMP_NEQ
        elif kind == INTERFACE:
            super().narrow()
            self.narrows.append(INTERFACE)
        else:
            self.decided(super().cmp, data, kind)

    def lookup(self, data: dict[int, bytes]) -> None:
        """Look something up."""
        kind, before = self.holds.get(number(data[2]), ""), len(self.narrows)
        self.decided(super().lookup, data, kind)
        if kind == INTERFACE:
            self.narrows[before:] = [INTERFACE] * (len(self.narrows) - before)
        if 3 in data:
            self.holds[number(data[3])] = ""

    def decided(self, method: Callable[[dict[int, bytes]], None], data: dict[int, bytes], kind: str) -> None:
        """Run a comparison, and note whether it was one of what chooses such packets."""
        self.out.state_used = False
        method(data)
        self.aware = self.aware or (self.out.state_used and kind != FAMILY)

    def match(self, data: dict[int, bytes]) -> None:
        """Ask a match of xtables."""
        name = text(data[1])
        if name in ("icmp", "icmp6"):
            self.out.matched = xtmatch.icmp_meets(data[3], self.packet.kind, self.packet.code)
            self.aware = True
        elif name == "physdev":
            self.narrows.append(INTERFACE)
        else:
            self.decided(super().match, data, "")


def matches(raw: RawRule, packet: Packet, find_set: Callable[[str], Set]) -> Iterator[Match]:
    """Yield what a rule does with the packet, one match per verdict that it may come to."""
    machine = PacketMachine(packet, find_set)
    try:
        for expression in raw.program:
            machine.step(*expression)
            if not machine.out.matched or machine.out.verdicts:
                break
    except (KeyError, IndexError, struct.error, xtmatch.Unknown) as error:
        raise OSError(errno.EBADMSG, f"an expression without its parts: {error!r}") from None
    out = machine.out
    if not out.matched:
        return
    narrow = tuple(dict.fromkeys(machine.narrows))
    if out.doubt or (len(out.verdicts) > 1 and not narrow):
        narrow = (*narrow, OTHER)
    for verdict in out.verdicts:
        yield Match((raw.key.chain, raw.position), verdict.code, verdict.chain, narrow, machine.aware, verdict.counter)


def protocol_only(program: list[Expression], packet: Packet, find_set: Callable[[str], Set]) -> bool:
    """Tell whether a rule takes nothing but the packet's protocol: it does not match one of another."""
    other = packet._replace(protocol=paths.TCP, kind=-1, code=-1)
    machine = PacketMachine(other, find_set)
    try:
        for expression in program:
            machine.step(*expression)
            if not machine.out.matched:
                return True
            if machine.out.verdicts:
                return False
    except (OSError, KeyError, IndexError, struct.error):
        return False
    return False
