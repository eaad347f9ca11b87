"""Follows one kind of packet through chains: where can it be accepted, and where does it die?

A packet is known in part only: its protocol, its type, the state of its connection; not its addresses and ports. So a
rule matches, does not match, or matches some such packets. Whether path MTU discovery works is asked by comparison: a
TCP segment of an established connection, and the ICMP message that says that it was too large. Where the filter
accepts the one and always drops the other, connections hang with their first full packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Tuple, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
MAX_DEPTH = 32
MOST_STEPS = 3000
"""Rules looked at per base chain and packet; about 30 ms."""
INTERFACE, OTHER = "interface", "other"
TCP, ICMP, ICMP6 = 6, 1, 58

Place = Tuple[str, int]
"""Chain, and position of the rule in it; 0: the policy."""


class Packet(NamedTuple):
    """What is known of a packet."""

    family: str
    protocol: int
    kind: int = -1
    """ICMP type."""
    code: int = -1
    state: str = "ESTABLISHED"


SEGMENTS = {"ip": Packet("ip", TCP), "ip6": Packet("ip6", TCP)}
TOO_BIG = {"ip": Packet("ip", ICMP, 3, 4, "RELATED"), "ip6": Packet("ip6", ICMP6, 2, 0, "RELATED")}


class Match(NamedTuple):
    """How a rule meets the packet; a rule that does not is not listed at all."""

    place: Place
    verdict: str
    """As ``chains.Step.verdict``."""
    target: str = ""
    narrow: Tuple[str, ...] = ()
    """INTERFACE, OTHER: what else has to match; empty: every such packet does."""
    aware: bool = False
    """The rule looked at the protocol, the type or the state, so whoever wrote it chose these packets."""
    counter: Union[Tuple[int, int], str, None] = None


class End(NamedTuple):
    """A place where some of the packets end."""

    place: Place
    dropped: bool
    narrow: Tuple[str, ...]
    aware: bool
    counter: Union[Tuple[int, int], str, None] = None


class TooLongError(Exception):
    """The chains are longer than is looked at."""


def ends(chain: str, policy: str, steps: Callable[[str], Iterator[Match]]) -> list[End]:
    """Return where the packets that enter a base chain may end, in order; the last takes all that are left."""
    walk = _Walk(steps)
    if not walk.through(chain, (), 0, aware=False):
        walk.found.append(End((chain, 0), policy == "drop", (), aware=False))
    return walk.found


class _Walk:
    def __init__(self, steps: Callable[[str], Iterator[Match]]) -> None:
        self.steps = steps
        self.found: list[End] = []
        self.left = MOST_STEPS

    def through(self, chain: str, narrow: tuple[str, ...], depth: int, *, aware: bool) -> bool:
        """Note where packets end; tell whether none of those that entered comes back to the caller."""
        if depth > MAX_DEPTH:
            raise TooLongError
        for step in self.steps(chain):
            self.left -= 1
            if self.left < 0:
                raise TooLongError
            if step.verdict == "continue":
                continue
            here = tuple(dict.fromkeys(narrow + step.narrow))
            if step.verdict in ("jump", "goto"):
                ended = self.through(step.target, here, depth + 1, aware=aware or step.aware)
                if not step.narrow and (ended or step.verdict == "goto"):
                    return ended
            elif step.verdict == "return":
                if not step.narrow:
                    return False
                narrow = tuple(dict.fromkeys((*narrow, OTHER)))  # the rest meets what did not return
            else:
                dropped = step.verdict in ("drop", "reject")
                self.found.append(End(step.place, dropped, here, aware or step.aware, step.counter))
                if not step.narrow:
                    return True
        return False


def blocked(message: Sequence[End], segment: Sequence[End]) -> End | None:
    """Return where the message dies although segments pass; ``None`` where it does not, or no segment passes.

    A rule that accepts without looking at what it accepts (``-i wg0 -j ACCEPT``) takes both alike, and one that accepts
    some messages on purpose (from one side, so many a second) is taken for enough.
    """
    passes = {end.place for end in segment if not end.dropped}
    for end in message:
        if end.dropped and end.aware and set(end.narrow) <= {INTERFACE} and end.place not in _drops(segment):
            return end if passes else None
        if not end.dropped and end.aware:
            return None
    last = message[-1]
    both = {end.place for end in message if not end.dropped}
    return last if last.dropped and passes - both else None


def _drops(segment: Sequence[End]) -> set[Place]:
    return {end.place for end in segment if end.dropped}
