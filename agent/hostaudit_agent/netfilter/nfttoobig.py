"""Asks nf_tables what becomes of the ICMP messages of path MTU discovery.

The machine of ``nftrun`` is run with more that is known than the state: the protocol, and the type and code of the
message. Everything else that a rule loads stays unknown and narrows it, the loopback interface excepted: the packets
that are asked for come from elsewhere, or go there.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import paths, xtmatch
from hostaudit_agent.netfilter.chains import Found
from hostaudit_agent.netfilter.nftables import MALFORMED, PART
from hostaudit_agent.netfilter.nftexpr import number
from hostaudit_agent.netfilter.nftread import FAMILIES, rule
from hostaudit_agent.netfilter.nftrun import Machine
from hostaudit_agent.netfilter.paths import INTERFACE, OTHER, Match, Packet
from hostaudit_agent.netlink import attributes, text
from hostaudit_agent.snapshot import TooBigDrop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.netfilter.nftexpr import Expression, Set
    from hostaudit_agent.netfilter.nftread import Chain, Key, RawRule
    from hostaudit_agent.netfilter.nftrules import Judge

# enum nft_meta_keys
META_PROTOCOL, META_NFPROTO, META_L4PROTO = 1, 15, 16
META_INTERFACES = frozenset((4, 5, 6, 7, 17, 18, 20, 21))
INDEX_KEYS = frozenset((4, 5))
NETWORK, TRANSPORT = 1, 2  # NFT_PAYLOAD_*_HEADER
PACKETS = {
    "ip": ("ip",), "ip6": ("ip6",), "inet": ("ip", "ip6"), "bridge": ("ip", "ip6"), "netdev": ("ip", "ip6"),
}  # fmt: skip
"""Packets that the chains of a family meet."""
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


def too_big(judge: Judge) -> None:
    """Add where the messages of path MTU discovery die, of each base chain but those of nat."""
    follower = _Follower(judge)
    for key, chain in judge.ruleset.chains.items():
        empty = not judge.ruleset.counts.get(key) and chain.policy == "accept"
        if not chain.hook or not chain.active or chain.kind == "nat" or empty:
            continue
        part = f"{PART}/{FAMILIES.get(key.family, '')}/{key.table}/{key.chain}.too_big"
        try:
            for family in PACKETS.get(FAMILIES.get(key.family, ""), ()):
                follower.look(chain, family)
        except paths.TooLongError:
            judge.reading.unread.append((part, f"more than {paths.MOST_STEPS} rules: not followed"))
        except (OSError, *MALFORMED) as error:
            judge.reading.unread.append((part, f"not followed: {getattr(error, 'strerror', None) or error!r}"))


class _Follower:
    """Sends packets through the chains of one ruleset; each rule is taken apart once."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.programs: dict[Key, list[RawRule]] = {}

    def look(self, chain: Chain, family: str) -> None:
        """Add where the message of one family dies, if it does."""
        name, packet = chain.key.chain, paths.TOO_BIG[family]
        message = paths.ends(name, chain.policy, self.steps(chain.key, packet))
        if not any(end.dropped for end in message):
            return
        segment = paths.ends(name, chain.policy, self.steps(chain.key, paths.SEGMENTS[family]))
        found = paths.blocked(message, segment)
        if found is None:
            return
        place, index = found.place
        shown, only = f"policy {chain.policy}", False
        if index:
            raw = self.program(chain.key._replace(chain=place))[index - 1]
            shown, only = self.judge.text(raw), protocol_only(raw.program, packet, self.judge.sets(chain.key))
        backend = self.judge.backend(chain.key)
        drop = TooBigDrop(backend, family, chain.key.table, name, chain.hook, place, index, shown, only)
        drop.narrowed, drop.packets = "".join(found.narrow[:1]), self.judge.counter(chain.key, found.counter)[0]
        self.judge.reading.too_big.append(Found(drop, ("too_big", family, *chain.key, place, shown)))

    def steps(self, base: Key, packet: Packet) -> Callable[[str], Iterator[Match]]:
        """Return what gives the rules of a chain of this table that the packet may meet."""

        def of(name: str) -> Iterator[Match]:
            for raw in self.program(base._replace(chain=name)):
                yield from matches(raw, packet, self.judge.sets(base))

        return of

    def program(self, key: Key) -> list[RawRule]:
        """Return the rules of a chain."""
        if key not in self.programs:
            payloads = self.judge.ruleset.payloads.get(key, [])
            if len(payloads) < self.judge.ruleset.counts.get(key, 0):
                raise paths.TooLongError
            self.programs[key] = [rule(key, index, payload) for index, payload in enumerate(payloads, 1)]
        return self.programs[key]
