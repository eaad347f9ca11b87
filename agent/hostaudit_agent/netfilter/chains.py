"""Chains of packet filter rules: from which hooks one is reached, and what becomes of a packet that enters it.

The same for xtables and nf_tables: a chain is a list of rules, a rule may jump to another chain and come back, or go
there for good (goto), and a chain that ends returns to its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Tuple, TypeVar, Union

from hostaudit_agent.records import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from hostaudit_agent.snapshot import MssRule, NatRule, Rule, TooBigDrop

MAX_DEPTH = 32  # the kernel's own limit is 16 nested jumps (NFT_JUMP_STACK_SIZE)
MOST_ALTERING, MOST_DNAT = 256, 20_000
"""Rules that change packets: those reported per table, and those to backends of Services that are looked at."""
STATES = ("INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED")


class Graph:
    """Which chain jumps to which, and which ones the kernel enters by itself."""

    def __init__(self) -> None:
        self._hooks: dict[Hashable, str] = {}
        self._callers: dict[Hashable, set[Hashable]] = {}

    def base(self, chain: Hashable, hook: str) -> None:
        """Note that the kernel enters the chain at a hook: ``forward``."""
        self._hooks[chain] = hook

    def edge(self, source: Hashable, target: Hashable) -> None:
        """Note a jump or goto."""
        self._callers.setdefault(target, set()).add(source)

    def hooks(self, chain: Hashable) -> list[str]:
        """Return the hooks from which the chain is reached, sorted; none: no packet ever comes here."""
        seen: set[Hashable] = {chain}
        waiting = [chain]
        found: set[str] = set()
        while waiting:
            current = waiting.pop()
            if current in self._hooks:
                found.add(self._hooks[current])
            for caller in self._callers.get(current, ()):
                if caller not in seen:
                    seen.add(caller)
                    waiting.append(caller)
        return sorted(found)


class Step(NamedTuple):
    """What one rule does to a packet in state INVALID that meets it."""

    conditional: bool
    """Only some of these packets match."""
    verdict: str
    """``drop``, ``reject``, ``jump``, ``goto``, ``return``; ``continue`` for rules that decide nothing (log);
    anything else (``accept``, ``queue``) lets the packet leave the chain alive."""
    target: str = ""
    counter: Union[Tuple[int, int], str, None] = None
    """Of nf_tables only: packets and bytes, or a counter's name."""


DROPS, PASSES, LEAKS = "drops", "passes", "leaks"


class Fates:
    """What becomes of the packets in state INVALID that enter a chain.

    DROPS: all are dropped or rejected. PASSES: those not dropped come back to the caller. LEAKS: some leave otherwise,
    or it cannot be told. Each chain is looked at once.
    """

    def __init__(self, steps: Callable[[str], Sequence[Step]]) -> None:
        """Take ``steps``, which returns the rules of a chain by its name."""
        self._steps = steps
        self._known: dict[str, str] = {}

    def of(self, chain: str, depth: int = 0) -> str:
        """Return the fate of a chain by its name."""
        if chain not in self._known:
            self._known[chain] = LEAKS  # the answer for a chain that comes back to itself
            if depth <= MAX_DEPTH:
                try:
                    self._known[chain] = self._find(chain, depth)
                except BaseException:  # the next rule that jumps here must not take the interim answer
                    del self._known[chain]
                    raise
        return self._known[chain]

    def _find(self, chain: str, depth: int) -> str:
        returns = False
        for step in self._steps(chain):
            if step.verdict == "continue":
                continue
            if step.verdict in ("jump", "goto"):
                inner = self.of(step.target, depth + 1)
                if inner == LEAKS:
                    return LEAKS
                if step.verdict == "jump" and inner == PASSES:
                    continue
            elif step.verdict in ("drop", "reject"):
                inner = DROPS
            elif step.verdict == "return":
                inner = PASSES
            else:
                return LEAKS
            if not step.conditional:
                return PASSES if returns else inner
            returns = returns or inner == PASSES
        return PASSES


Key = Tuple[Union[str, int], ...]


R = TypeVar("R")


@dataclass
class Found(Generic[R]):
    """A rule of interest, and by what it is known again in the next sample."""

    rule: R
    key: Key


@dataclass
class Dnat:
    """A rule that sends packets to another address."""

    address: str
    chain: str
    key: Key
    packets: int | None = None


@dataclass
class Reading:
    """What one backend holds."""

    invalid: list[Found[Rule]] = field(default_factory=list)
    notrack: list[Found[Rule]] = field(default_factory=list)
    backends: dict[str, int] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    nat: list[Found[NatRule]] = field(default_factory=list)
    mss: list[Found[MssRule]] = field(default_factory=list)
    too_big: list[Found[TooBigDrop]] = field(default_factory=list)
    dnat: list[Dnat] = field(default_factory=list)
    kube_proxy: set[str] = field(default_factory=set)
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Part and reason."""
