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
from hostaudit_agent.netfilter.nftexpr import Outcome, Verdict, counter, hits, number, verdict
from hostaudit_agent.netlink import attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.nftexpr import Expression, Set

# NF_CT_STATE_*_BIT in include/uapi/linux/netfilter/nf_conntrack_common.h
STATE_VALUES = {"INVALID": 1, "NEW": 8, "ESTABLISHED": 2, "RELATED": 4, "UNTRACKED": 64}
REGISTERS = 16  # slots of 32 bits; the verdict's register is not among them
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

    OSError where an expression lacks what it needs (EBADMSG), or a set cannot be read.
    """
    machine = _Machine(state, find_set)
    try:
        for expression in program:
            machine.step(*expression)
            if not machine.out.matched or machine.out.verdicts:
                break
    except (KeyError, IndexError, struct.error) as error:
        raise OSError(errno.EBADMSG, f"an expression without its parts: {error!r}") from None
    return machine.out


class _Machine:
    """The registers while a rule runs. A slot is ``None`` when its content is not known."""

    def __init__(self, state: str, find_set: Callable[[str], Set]) -> None:
        self.state = state
        self.find_set = find_set
        self.slots: list[bytes | None] = [None] * REGISTERS
        self.out = Outcome()

    def step(self, name: str, data: dict[int, bytes]) -> None:
        method = METHODS.get(name)
        if method is not None:
            method(self, data)
        elif name in DREG:
            if DREG[name] in data:  # otherwise it sets something
                length = number(data[4]) if name == "payload" else 16
                self.store(number(data[DREG[name]]), None, length)
        elif name in LEAVING:
            self.out.verdicts = [Verdict(name)]
        elif name not in HARMLESS:
            self.narrow()  # a match on something else, or an expression that this program does not know

    def store(self, register: int, value: bytes | None, length: int) -> None:
        start = _slot(register)
        for at in range(min((length + 3) // 4, REGISTERS - start)):
            self.slots[start + at] = None if value is None else value[4 * at : 4 * at + 4]

    def load(self, register: int, length: int) -> list[bytes | None]:
        start = _slot(register)
        slots = self.slots[start : start + (length + 3) // 4]
        return [None if slot is None else slot[: length - 4 * at] for at, slot in enumerate(slots)]

    def known(self, register: int, length: int) -> bytes | None:
        slots = [slot for slot in self.load(register, length) if slot is not None]
        if slots and len(slots) < (length + 3) // 4:
            self.out.doubt = "ct state is compared together with something else"
        value = b"".join(slots)
        return value if value and len(value) == length else None

    def narrow(self) -> None:
        self.out.narrowed = True
        self.out.counter = None

    def decide(self, *, matches: bool) -> None:
        self.out.state_used = True
        self.out.counter = None
        self.out.matched = matches

    def ct(self, data: dict[int, bytes]) -> None:
        if 1 in data:  # NFTA_CT_DREG; otherwise it sets a field
            is_state = number(data[2]) == CT_STATE
            self.out.state_loaded = self.out.state_loaded or is_state
            value = struct.pack("=I", STATE_VALUES[self.state]) if is_state else None
            self.store(number(data[1]), value, 4 if is_state else 16)

    def bitwise(self, data: dict[int, bytes]) -> None:
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
        length, size = number(data[4]), number(data[5])
        value = self.known(number(data[1]), length)
        if value is not None and sys.byteorder == "little" and size in (2, 4, 8):
            value = b"".join(value[at : at + size][::-1] for at in range(0, length, size))
        self.store(number(data[2]), value, length)

    def immediate(self, data: dict[int, bytes]) -> None:
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
        wanted = attributes(data[3])[1]
        value = self.known(number(data[1]), len(wanted))
        if value is None:
            self.narrow()
        else:  # memcmp; NFT_CMP_EQ, NEQ, LT, LTE, GT, GTE
            answers = (
                value == wanted,
                value != wanted,
                value < wanted,
                value <= wanted,
                value > wanted,
                value >= wanted,
            )
            self.decide(matches=answers[number(data[2])])

    def range(self, data: dict[int, bytes]) -> None:
        low, high = attributes(data[3])[1], attributes(data[4])[1]
        value = self.known(number(data[1]), len(low))
        if value is None:
            self.narrow()
        else:
            self.decide(matches=(low <= value <= high) == (number(data[2]) == 0))

    def lookup(self, data: dict[int, bytes]) -> None:
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
        name = text(data[1])
        if xtmatch.is_notrack(name, data.get(3, b"")):
            self.out.notrack = True
        elif name == "REJECT":
            self.conclude([Verdict("reject")])
        elif name not in xtmatch.PASSING:
            self.conclude([Verdict(name)])

    def reject(self, _: dict[int, bytes]) -> None:
        self.conclude([Verdict("reject")])

    def notrack(self, _: dict[int, bytes]) -> None:
        self.out.notrack = True

    def counter(self, data: dict[int, bytes]) -> None:
        self.out.counter = counter(data)

    def objref(self, data: dict[int, bytes]) -> None:
        kind = number(data[1]) if 1 in data else 0
        if kind == COUNTER:
            self.out.counter = text(data[2])
        elif kind in (0, *MATCHING_OBJECTS):  # 0: chosen by a map
            self.narrow()

    def dynset(self, data: dict[int, bytes]) -> None:
        if 7 in data or 10 in data:  # with an expression, such as a limit per element
            self.narrow()


METHODS: dict[str, Callable[[_Machine, dict[int, bytes]], None]] = {
    name: getattr(_Machine, name)
    for name in (
        *("bitwise", "byteorder", "cmp", "counter", "ct", "dynset", "immediate", "lookup", "match", "notrack"),
        *("objref", "range", "reject", "target"),
    )
}


def _slot(register: int) -> int:
    """Return the first 32-bit slot of a register: 1 to 4 have 128 bits, those from 8 on (NFT_REG32_00) have 32."""
    if 1 <= register <= 4:
        return 4 * (register - 1)
    if 8 <= register < 8 + REGISTERS:
        return register - 8
    raise KeyError(register)
