"""Works out for which connection states an nf_tables rule gives which verdict.

A rule is a list of expressions, a small program over registers (net/netfilter/nft_*.c). Instead of recognising the
shapes that nft makes today, the program is run with each value that ``ct state`` can have; everything else that it
loads is unknown. A comparison of something unknown narrows the rule. So ``ct state invalid``, ``ct state { invalid }``,
``ct state vmap { ... }``, ``ct state != { new, ... }`` and what a future nft makes of them need no code of their own.
"""

from __future__ import annotations

import errno
import struct
import sys
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import xtmatch
from hostaudit_agent.netfilter.nftexpr import Outcome, Registers, Verdict, counter, hits, number, verdict
from hostaudit_agent.netlink import attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.nftexpr import Expression, Set

# NF_CT_STATE_*_BIT in include/uapi/linux/netfilter/nf_conntrack_common.h
STATE_VALUES = {"INVALID": 1, "NEW": 8, "ESTABLISHED": 2, "RELATED": 4, "UNTRACKED": 64}
CT_STATE = 0  # NFT_CT_STATE
COUNTER, MATCHING_OBJECTS = 1, (2, 4, 5)  # NFT_OBJECT_COUNTER; _QUOTA, _LIMIT, _CONNLIMIT
# Statements that neither match nor decide, and those that end the rule's chain with the packet alive.
HARMLESS = frozenset(("log", "last", "dup", "flow_offload"))
LEAVING = frozenset(("queue", "masq", "nat", "redir", "tproxy", "fwd", "synproxy"))
# The attribute that names the register into which an expression loads.
DREG = {
    "meta": 1, "payload": 1, "exthdr": 1, "fib": 1, "rt": 1, "socket": 3, "osf": 1, "tunnel": 2, "xfrm": 1,
    "numgen": 1, "hash": 2,
}  # fmt: skip


def run(program: list[Expression], state: str, find_set: Callable[[str], Set]) -> Outcome:
    """Run a rule for a packet in the given state; ``find_set`` returns a set of the rule's table by its name.

    OSError: an expression lacks what it needs (EBADMSG), or a set cannot be read.
    """
    machine = Machine(state, find_set)
    try:
        for expression in program:
            machine.step(*expression)
            if not machine.out.matched or machine.out.verdicts:
                break
    except (KeyError, IndexError, struct.error) as error:
        raise OSError(errno.EBADMSG, f"an expression without its parts: {error!r}") from None
    return machine.out


class Machine(Registers):
    """The registers while a rule runs, and what comes of it."""

    def __init__(self, state: str, find_set: Callable[[str], Set]) -> None:
        super().__init__()
        self.state = state
        self.find_set = find_set
        self.out = Outcome()

    def step(self, name: str, data: dict[int, bytes]) -> None:
        """Run one expression."""
        if name in METHODS:
            getattr(self, name)(data)
        elif name in DREG:
            if DREG[name] in data:  # otherwise it sets something
                length = number(data[4]) if name == "payload" else 16
                self.store(number(data[DREG[name]]), None, length)
        elif name in LEAVING:
            self.out.verdicts = [Verdict(name)]
        elif name not in HARMLESS:
            self.narrow()  # a match on something else, or an expression that this program does not know

    def known(self, register: int, length: int) -> bytes | None:
        """Return a register as one value; ``None`` where any of it is not known."""
        slots = [slot for slot in self.load(register, length) if slot is not None]
        if slots and len(slots) < (length + 3) // 4:
            self.out.doubt = "ct state is compared together with something else"
        value = b"".join(slots)
        return value if value and len(value) == length else None

    def narrow(self) -> None:
        """Note that something unknown has to match, too."""
        self.out.narrowed = True
        self.out.counter = None

    def decide(self, *, matches: bool) -> None:
        """Note a comparison whose outcome is known."""
        self.out.state_used = True
        self.out.counter = None
        self.out.matched = matches

    def ct(self, data: dict[int, bytes]) -> None:
        """Load what connection tracking knows, or set it."""
        if 1 in data:  # NFTA_CT_DREG; otherwise it sets a field
            is_state = number(data[2]) == CT_STATE
            self.out.state_loaded = self.out.state_loaded or is_state
            value = struct.pack("=I", STATE_VALUES[self.state]) if is_state else None
            self.store(number(data[1]), value, 4 if is_state else 16)

    def bitwise(self, data: dict[int, bytes]) -> None:
        """Mask a register."""
        length = number(data[3])
        value = self.known(number(data[1]), length)
        if value is not None:
            if number(data.get(6, bytes(4))) == 0:  # NFT_BITWISE_MASK_XOR
                mask, toggle = attributes(data[4])[1], attributes(data[5])[1]
                value = bytes(a & m ^ x for a, m, x in zip(value, mask, toggle))
            else:
                self.out.doubt, value = "ct state is shifted", None
        self.store(number(data[2]), value, length)

    def byteorder(self, data: dict[int, bytes]) -> None:
        """Swap the bytes of a register."""
        length, size = number(data[4]), number(data[5])
        value = self.known(number(data[1]), length)
        if value is not None and sys.byteorder == "little" and size in (2, 4, 8):
            value = b"".join(value[at : at + size][::-1] for at in range(0, length, size))
        self.store(number(data[2]), value, length)

    def immediate(self, data: dict[int, bytes]) -> None:
        """Load a constant, or decide."""
        parts = attributes(data[2])
        if number(data[1]) == 0:
            self.conclude([verdict(parts[2])])
        else:
            self.store(number(data[1]), parts[1], len(parts[1]))

    def conclude(self, verdicts: list[Verdict]) -> None:
        """Take the possible verdicts; one without its own counter gets the rule's."""
        if [found.code for found in verdicts] == ["break"]:
            self.out.matched = False
        elif [found.code for found in verdicts] != ["continue"]:
            self.out.verdicts = [found._replace(counter=found.counter or self.out.counter) for found in verdicts]

    def cmp(self, data: dict[int, bytes]) -> None:
        """Compare a register with a constant."""
        wanted = attributes(data[3])[1]
        value = self.known(number(data[1]), len(wanted))
        if value is None:
            self.narrow()
        else:  # memcmp; NFT_CMP_EQ, NEQ, LT, LTE, GT, GTE
            less, same = value < wanted, value == wanted
            answers = (same, not same, less, less or same, not less and not same, not less)
            self.decide(matches=answers[number(data[2])])

    def range(self, data: dict[int, bytes]) -> None:
        """Compare a register with a range."""
        low, high = attributes(data[3])[1], attributes(data[4])[1]
        value = self.known(number(data[1]), len(low))
        if value is None:
            self.narrow()
        else:
            self.decide(matches=(low <= value <= high) == (number(data[2]) == 0))

    def lookup(self, data: dict[int, bytes]) -> None:
        """Look a register up in a set or map."""
        found = self.find_set(text(data[1]))
        key, inverted = self.load(number(data[2]), found.key_length), bool(number(data.get(5, bytes(4))) & 1)
        is_vmap = 3 in data and number(data[3]) == 0
        if 3 in data and not is_vmap:
            self.store(number(data[3]), None, 16)
        whole = None not in key and len(key) > 0
        if not whole and not is_vmap and not any(key):
            self.narrow()
            return
        matching = hits(found, key)
        if any(key):
            self.decide(matches=bool(matching) != inverted if whole else bool(matching) or inverted)
        if not whole:
            self.narrow()
        if is_vmap:
            self.out.matched = bool(matching)
            self.conclude(list(dict.fromkeys(hit.verdict for hit in matching if hit.verdict is not None)))

    def match(self, data: dict[int, bytes]) -> None:
        """Ask a match of xtables."""
        name = text(data[1])
        try:
            states = xtmatch.states(name, number(data[2]), data[3])
        except xtmatch.Unknown as error:
            self.out.doubt = str(error)
            return
        if states is not None:
            self.decide(matches=self.state in states)
        elif name != "comment":
            self.narrow()

    def target(self, data: dict[int, bytes]) -> None:
        """Do what a target of xtables does."""
        name = text(data[1])
        if xtmatch.is_notrack(name, data.get(3, b"")):
            self.out.notrack = True
        elif name == "REJECT":
            self.conclude([Verdict("reject")])
        elif name not in xtmatch.PASSING:
            self.conclude([Verdict(name)])

    def reject(self, _: dict[int, bytes]) -> None:
        """Reject."""
        self.conclude([Verdict("reject")])

    def notrack(self, _: dict[int, bytes]) -> None:
        """Exempt from tracking."""
        self.out.notrack = True

    def counter(self, data: dict[int, bytes]) -> None:
        """Count."""
        self.out.counter = counter(data)

    def objref(self, data: dict[int, bytes]) -> None:
        """Use a named object."""
        kind = number(data[1]) if 1 in data else 0
        if kind == COUNTER:
            self.out.counter = text(data[2])
        elif kind in (0, *MATCHING_OBJECTS):  # 0: chosen by a map
            self.narrow()

    def dynset(self, data: dict[int, bytes]) -> None:
        """Add to a set."""
        if 7 in data or 10 in data:  # with an expression, such as a limit per element
            self.narrow()


METHODS = frozenset(
    (
        *("bitwise", "byteorder", "cmp", "counter", "ct", "dynset", "immediate", "lookup", "match", "notrack"),
        *("objref", "range", "reject", "target"),
    )
)
"""Expressions whose method has their name."""
