"""Expressions, verdicts, sets and registers of nf_tables, as netlink shows them.

Attribute numbers: include/uapi/linux/netfilter/nf_tables.h. Numbers in attributes are big-endian; the content of
registers and of set keys is what the kernel compares, byte by byte.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from hostaudit_agent.netlink import attribute, attributes, text, walk
from hostaudit_agent.records import dataclass, field

CODES = {0: "drop", 1: "accept", 3: "queue", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
SET_ANONYMOUS, SET_INTERVAL, SET_MAP = 1, 4, 8
ELEMENT_END, ELEMENT_CATCHALL = 1, 2
MOST_KNOWN = 2048


class Expression(NamedTuple):
    """One expression of a rule: its name and its attributes."""

    name: str
    data: dict[int, bytes]


_known: Dict[bytes, Expression] = {}
"""Expressions by their bytes."""


class Verdict(NamedTuple):
    """What a rule decides, and the counter of exactly those packets: (packets, bytes), or a named counter."""

    code: str
    chain: str = ""
    counter: Union[Tuple[int, int], str, None] = None


class Element(NamedTuple):
    """An element of a set or of a verdict map."""

    key: bytes
    end: Optional[bytes]
    """Upper end of a range, where one element holds both ends."""
    flags: int
    verdict: Optional[Verdict]


class Set(NamedTuple):
    """A set or a map."""

    flags: int
    key_length: int
    elements: Callable[[], List[Element]]
    """Reads the elements when they are needed."""


@dataclass
class Outcome:
    """One run of a rule, for one state."""

    verdicts: list[Verdict] = field(default_factory=list)
    """More than one where a verdict map's key is not wholly known; none when the rule did not match or only counts."""
    matched: bool = True
    state_loaded: bool = False
    state_used: bool = False
    narrowed: bool = False
    notrack: bool = False
    counter: tuple[int, int] | str | None = None
    """The last counter, if no match comes after it: one before a match counts other packets too."""
    doubt: str = ""
    """What could not be followed."""


def expressions(value: bytes) -> list[Expression]:
    """Return the list in NFTA_RULE_EXPRESSIONS; OSError (EBADMSG) where it does not parse.

    Most expressions of ten thousand rules are the same ones again: each is taken apart once, and nobody changes them.
    """
    found = []
    for _, element in walk(value):
        one = _known.get(element)
        if one is None:
            parts = attributes(element)
            one = Expression(text(parts.get(1, b"")), attributes(parts.get(2, b"")))
            if len(_known) >= MOST_KNOWN:  # counters are all different
                _known.clear()
            _known[element] = one
        found.append(one)
    return found


def verdict(value: bytes) -> Verdict:
    """Return an NFTA_DATA_VERDICT: code and, for jumps, a chain."""
    parts = attributes(value)
    return Verdict(CODES.get(struct.unpack(">i", parts[1])[0], "unknown"), text(parts.get(2, b"")))


def counter(data: dict[int, bytes]) -> tuple[int, int]:
    """Return packets and bytes of a counter's attributes."""
    return int.from_bytes(data[2], "big"), int.from_bytes(data[1], "big")


def number(value: bytes) -> int:
    """Return a big-endian number."""
    return int.from_bytes(value, "big")


def element(value: bytes) -> Element:
    """Return one element of NFTA_SET_ELEM_LIST_ELEMENTS."""
    data = attributes(value)
    decision = None
    parts = attributes(data.get(2, b""))
    if 2 in parts:
        decision = verdict(parts[2])
        own = expressions(data.get(11, b""))  # NFTA_SET_ELEM_EXPRESSIONS; before Linux 5.7 one, NFTA_SET_ELEM_EXPR
        if 7 in data:
            own += expressions(attribute(1, data[7]))
        for expression in own:
            if expression.name == "counter":
                decision = decision._replace(counter=counter(expression.data))
    key, end = attributes(data.get(1, b"")).get(1, b""), attributes(data.get(10, b"")).get(1)
    return Element(key, end, number(data.get(3, b"")), decision)


def hits(found: Set, key: list[bytes | None]) -> list[Element]:
    """Return the elements that the key may find; unknown slots fit everything."""
    elements = [element for element in found.elements() if not element.flags & ELEMENT_CATCHALL]
    rest = [element for element in found.elements() if element.flags & ELEMENT_CATCHALL]
    if found.flags & SET_INTERVAL and any(element.end is None for element in elements):
        found_here = elements
        if None not in key:  # the start closest below the key, unless a range ended in between
            value = b"".join(slot for slot in key if slot is not None)
            ordered = sorted(elements, key=lambda element: (element.key, not element.flags & ELEMENT_END))
            found_here = [element for element in ordered if element.key <= value][-1:]
        found_here = [element for element in found_here if not element.flags & ELEMENT_END]
    else:
        found_here = [element for element in elements if _fits(element, key)]
    return found_here + rest if None in key else found_here or rest


def _fits(element: Element, key: list[bytes | None]) -> bool:
    end = element.key if element.end is None else element.end
    return all(
        slot is None or element.key[4 * at : 4 * at + len(slot)] <= slot <= end[4 * at : 4 * at + len(slot)]
        for at, slot in enumerate(key)
    )


REGISTERS = 16
"""Slots of 32 bits; the verdict's register is not among them."""


class Registers:
    """What a rule has loaded. A slot is ``None`` when its content is not known."""

    def __init__(self) -> None:
        self.slots: list[bytes | None] = [None] * REGISTERS

    def store(self, register: int, value: bytes | None, length: int) -> None:
        """Put a value into a register and those behind it; ``None`` where it is not known."""
        start = _slot(register)
        for at in range(min((length + 3) // 4, REGISTERS - start)):
            self.slots[start + at] = None if value is None else value[4 * at : 4 * at + 4]

    def load(self, register: int, length: int) -> list[bytes | None]:
        """Return the slots of a register, each cut to what was asked for."""
        start = _slot(register)
        slots = self.slots[start : start + (length + 3) // 4]
        return [None if slot is None else slot[: length - 4 * at] for at, slot in enumerate(slots)]


def _slot(register: int) -> int:
    """Return the first 32-bit slot of a register: 1 to 4 have 128 bits, those from 8 on (NFT_REG32_00) have 32."""
    if 1 <= register <= 4:
        return 4 * (register - 1)
    if 8 <= register < 8 + REGISTERS:
        return register - 8
    raise KeyError(register)
