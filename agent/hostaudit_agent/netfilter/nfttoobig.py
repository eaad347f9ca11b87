"""Asks nf_tables what becomes of the ICMP messages of path MTU discovery."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from hostaudit_agent.budget import check
from hostaudit_agent.netfilter import paths
from hostaudit_agent.netfilter.chains import Found
from hostaudit_agent.netfilter.nftables import MALFORMED, PART
from hostaudit_agent.netfilter.nftexpr import number
from hostaudit_agent.netfilter.nftpacket import META_L4PROTO, matches, protocol_only
from hostaudit_agent.netfilter.nftread import FAMILIES, NFGENMSG_SIZE, rule
from hostaudit_agent.netlink import attributes, walk
from hostaudit_agent.snapshot import TooBigDrop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.netfilter.nftexpr import Expression
    from hostaudit_agent.netfilter.nftread import Chain, Key, RawRule
    from hostaudit_agent.netfilter.nftrules import Judge
    from hostaudit_agent.netfilter.paths import Match, Packet

PACKETS = {
    "ip": ("ip",), "ip6": ("ip6",), "inet": ("ip", "ip6"), "bridge": ("ip", "ip6"), "netdev": ("ip", "ip6"),
}  # fmt: skip
"""Packets that the chains of a family meet."""
NFTA_RULE_EXPRESSIONS, CMP_EQ = 4, 0


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
    """Sends packets through the chains of one ruleset.

    Each rule is taken apart once, and most not at all: those whose bytes ask for another protocol. How they do that is
    learned from those that were taken apart.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.rules: dict[tuple[Key, int], RawRule] = {}
        self.asking: dict[bytes, int] = {}
        """The bytes of two expressions, which load the protocol and compare it -> the only one that they let pass."""

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
            key = chain.key._replace(chain=place)
            raw = self.rule(key, index, self.payloads(key)[index - 1])
            shown, only = self.judge.text(raw), protocol_only(raw.program, packet, self.judge.sets(chain.key))
        backend = self.judge.backend(chain.key)
        drop = TooBigDrop(backend, family, chain.key.table, name, chain.hook, place, index, shown, only)
        drop.narrowed, drop.packets = "".join(found.narrow[:1]), self.judge.counter(chain.key, found.counter)[0]
        self.judge.reading.too_big.append(Found(drop, ("too_big", family, *chain.key, place, shown)))

    def steps(self, base: Key, packet: Packet) -> Callable[[str], Iterator[Match]]:
        """Return what gives the rules of a chain of this table that the packet may meet."""

        def of(name: str) -> Iterator[Match]:
            key = base._replace(chain=name)
            for index, payload in enumerate(self.payloads(key), 1):
                if not any(asked != packet.protocol and asking in payload for asking, asked in self.asking.items()):
                    yield from matches(self.rule(key, index, payload), packet, self.judge.sets(base))

        return of

    def payloads(self, key: Key) -> list[bytes]:
        """Return the rules of a chain as they came."""
        payloads = self.judge.ruleset.payloads.get(key, [])
        if len(payloads) < self.judge.ruleset.counts.get(key, 0):
            raise paths.TooLongError
        return payloads

    def rule(self, key: Key, index: int, payload: bytes) -> RawRule:
        """Return a rule of a chain, and learn how it asks for its protocol."""
        known = self.rules.get((key, index))
        if known is None:
            check()
            known = self.rules[key, index] = rule(key, index, payload)
            for place, (first, second) in enumerate(zip(known.program, known.program[1:])):
                if first.name == "meta" and second.name == "cmp":
                    self.learn(place, known.program, payload)
        return known

    def learn(self, place: int, program: list[Expression], payload: bytes) -> None:
        """Note the bytes of ``meta l4proto`` and of the comparison behind it, if that is what stands at this place."""
        load, compare = program[place].data, program[place + 1].data
        wanted = attributes(compare[3]).get(1, b"")
        chosen = number(load.get(2, b"")) == META_L4PROTO and load.get(1) == compare.get(1) and len(wanted) == 1
        if chosen and number(compare[2]) == CMP_EQ:
            listed = attributes(payload, NFGENMSG_SIZE)[NFTA_RULE_EXPRESSIONS]
            starts = [*accumulate((4 + len(element) + 3 & ~3 for _, element in walk(listed)), initial=0)]
            self.asking[listed[starts[place] : starts[place + 2]]] = wanted[0]
