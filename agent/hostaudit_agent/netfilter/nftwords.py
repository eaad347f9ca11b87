"""Turns the expressions of an nf_tables rule back into conditions and statements, in the words of nft.

Key numbers: enum nft_meta_keys and nft_ct_keys in include/uapi/linux/netfilter/nf_tables.h. What has no words here is
shown by the kernel's name for it in brackets; nothing is left out silently.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import xtmatch
from hostaudit_agent.netfilter.nftalter import RT_TCPMSS
from hostaudit_agent.netfilter.nftalter import words as altered
from hostaudit_agent.netfilter.nftexpr import ELEMENT_END, SET_ANONYMOUS, number, verdict
from hostaudit_agent.netfilter.nftrun import STATE_VALUES
from hostaudit_agent.netlink import attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.nftexpr import Expression, Set

META = {
    1: "meta protocol", 3: "meta mark", 4: "iif", 5: "oif", 6: "iifname", 7: "oifname", 10: "meta skuid",
    11: "meta skgid", 15: "meta nfproto", 16: "meta l4proto", 17: "meta ibrname", 18: "meta obrname",
    19: "meta pkttype", 20: "meta cpu", 21: "iifgroup", 22: "oifgroup",
}  # fmt: skip
CT = {0: "ct state", 1: "ct direction", 2: "ct status", 3: "ct mark", 6: "ct helper", 10: "ct protocol", 17: "ct zone"}
# (base, offset, length): base 1 is the network header, 2 the transport header
PAYLOAD = {
    (1, 12, 4): "ip saddr", (1, 16, 4): "ip daddr", (1, 9, 1): "ip protocol", (1, 8, 16): "ip6 saddr",
    (1, 24, 16): "ip6 daddr", (1, 6, 1): "ip6 nexthdr", (2, 0, 2): "th sport", (2, 2, 2): "th dport",
}  # fmt: skip
BASES = {0: "ll", 1: "nh", 2: "th", 3: "ih"}
OPERATORS = ("", "!= ", "< ", "<= ", "> ", ">= ")
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "ipv6-icmp", 132: "sctp"}
NFPROTO = {2: "ipv4", 10: "ipv6"}
UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
DEFAULT_BURST = 5


class _Text:
    """Builds the text of one rule."""

    def __init__(self, find_set: Callable[[str], Set]) -> None:
        self.find_set = find_set
        self.loaded: dict[int, str] = {}  # register -> what is in it
        self.masks: dict[int, bytes] = {}
        self.swapped: set[int] = set()
        self.conditions: list[tuple[str, str, str]] = []  # what, operator, value

    def say(self, what: str, operator: str = "", value: str = "") -> None:
        self.conditions.append((what, operator, value))

    def meta(self, data: dict[int, bytes]) -> None:
        if 1 in data:
            self.load(data[1], META.get(number(data[2]), f"meta {number(data[2])}"))
        else:
            self.say("[meta set]")

    def ct(self, data: dict[int, bytes]) -> None:
        if 1 in data:
            self.load(data[1], CT.get(number(data[2]), f"ct {number(data[2])}"))
        else:
            self.say("[ct set]")

    def payload(self, data: dict[int, bytes]) -> None:
        if 1 not in data:
            self.say("[payload set]")
            return
        base, offset, length = (number(data[kind]) for kind in (2, 3, 4))
        what = PAYLOAD.get((base, offset, length), f"@{BASES.get(base, str(base))},{8 * offset},{8 * length}")
        for full in ((1, 12, 4), (1, 16, 4), (1, 8, 16), (1, 24, 16)):
            if full[:2] == (base, offset) and length < full[2] and (base, offset, length) not in PAYLOAD:
                what = f"{PAYLOAD[full]}/{8 * length}"  # nft loads no more of an address than the prefix covers
        self.load(data[1], what)

    def load(self, register: bytes, what: str) -> None:
        self.loaded[number(register)] = what
        self.masks.pop(number(register), None)
        self.swapped.discard(number(register))

    def bitwise(self, data: dict[int, bytes]) -> None:
        source, target = number(data[1]), number(data[2])
        if 4 not in data:
            self.load(data[2], f"[bitwise {self.loaded.get(source, '')}]")
            return
        self.loaded[target] = self.loaded.get(source, "?")
        self.masks[target] = attributes(data[4])[1]

    def byteorder(self, data: dict[int, bytes]) -> None:
        self.load(data[2], self.loaded.get(number(data[1]), "?"))
        self.swapped.add(number(data[2]))

    def cmp(self, data: dict[int, bytes]) -> None:
        register, operator, wanted = number(data[1]), number(data[2]), attributes(data[3])[1]
        what, mask = self.loaded.get(register, "?"), self.masks.get(register)
        sign = OPERATORS[operator] if operator < len(OPERATORS) else "? "
        if register in self.swapped:
            wanted = wanted[::-1]
        what, _, length = what.partition("/")
        if mask is None:
            shown = _value(what, wanted)
            shown = shown.replace(",", " | ") if sign else shown
            self.say(what, sign, f"{shown}/{length}" if length else shown)
        elif what == "ct state" and operator == 1 and not wanted.strip(b"\0"):
            self.say(what, "", _value(what, mask))
        elif what.endswith("addr"):
            bits = f"{int.from_bytes(mask, 'big'):b}".rstrip("0")
            self.say(what, sign, f"{_value(what, wanted)}/{len(bits)}")
        else:
            shown = _value(what, mask).replace(",", " | ")
            shown = f"({shown})" if " | " in shown else shown
            self.say(what, f"& {shown} {sign or '== '}", _value(what, wanted))

    def lookup(self, data: dict[int, bytes]) -> None:
        name, register = text(data[1]), number(data[2])
        what, sign = self.loaded.get(register, "?"), "!= " if number(data.get(5, b"")) & 1 else ""
        found = self.find_set(name)
        if what == "ct state" and found.key_length == 4 and found.flags & SET_ANONYMOUS:
            items = []
            for element in sorted(found.elements(), key=lambda each: int.from_bytes(each.key, sys.byteorder)):
                if not element.flags & ELEMENT_END:
                    item = _value(what, element.key)
                    if element.verdict:
                        item += " : " + " ".join(filter(None, (element.verdict.code, element.verdict.chain)))
                    items.append(item)
            shown = "{ " + ", ".join(items) + " }"
        else:
            shown = "{ ... }" if found.flags & SET_ANONYMOUS else "@" + name
        if 3 in data:
            sign = "vmap " if number(data[3]) == 0 else "map "
        self.say(what, sign, shown)

    def immediate(self, data: dict[int, bytes]) -> None:
        parts = attributes(data[2])
        if 2 in parts:
            decision = verdict(parts[2])
            self.say(" ".join(filter(None, (decision.code, decision.chain))))
        else:
            self.load(data[1], "0x" + parts.get(1, b"").hex())

    def counter(self, _: dict[int, bytes]) -> None:
        self.say("counter")

    def objref(self, data: dict[int, bytes]) -> None:
        kind = {1: "counter", 2: "quota", 3: "ct helper set", 4: "limit"}.get(number(data.get(1, b"")))
        self.say(f'{kind} name "{text(data[2])}"' if kind and 2 in data else "[objref]")

    def log(self, data: dict[int, bytes]) -> None:
        prefix = f' prefix "{text(data[2])}"' if 2 in data else ""
        self.say("log" + prefix + (f" group {number(data[1])}" if 1 in data else ""))

    def limit(self, data: dict[int, bytes]) -> None:
        kind = "bytes" if number(data.get(4, b"")) else ""
        over = "over " if number(data.get(5, b"")) & 1 else ""
        rate = " ".join(filter(None, (str(number(data[1])), kind)))
        burst = number(data.get(3, b""))
        unit = UNITS.get(number(data[2]), f"{number(data[2])} s")
        self.say(f"limit rate {over}{rate}/{unit}" + ("" if burst in (0, DEFAULT_BURST) else f" burst {burst} packets"))

    def reject(self, data: dict[int, bytes]) -> None:
        self.say("reject with tcp reset" if number(data.get(1, b"")) == 1 else "reject")

    def notrack(self, _: dict[int, bytes]) -> None:
        self.say("notrack")

    def match(self, data: dict[int, bytes]) -> None:
        try:
            self.say(xtmatch.match_text(text(data[1]), number(data[2]), data[3]))
        except xtmatch.Unknown as error:
            self.say(f"[{error}]")

    def target(self, data: dict[int, bytes]) -> None:
        self.say("target", "", text(data[1]))


METHODS: dict[str, Callable[[_Text, dict[int, bytes]], None]] = {
    name: getattr(_Text, name)
    for name in (
        *(
            "bitwise",
            "byteorder",
            "cmp",
            "counter",
            "ct",
            "immediate",
            "limit",
            "log",
            "lookup",
            "match",
            "meta",
            "notrack",
        ),
        *("objref", "payload", "reject", "target"),
    )
}


def conditions(program: list[Expression], find_set: Callable[[str], Set]) -> list[tuple[str, str, str]]:
    """Return (what, operator, value) of each; for statements only the first is not empty."""
    shown = _Text(find_set)
    for name, data in program:
        if name == "rt" and 1 in data:
            shown.load(data[1], "rt mtu" if number(data[2]) == RT_TCPMSS else "rt")
        elif name in METHODS:
            METHODS[name](shown, data)
        else:
            shown.say(altered(name, data, shown.loaded) or f"[{name}]")
    return shown.conditions


def _value(what: str, value: bytes) -> str:
    """Return a register's content in the words of what was loaded into it."""
    if what == "ct state":
        bits = int.from_bytes(value, sys.byteorder)
        ordered = sorted(STATE_VALUES.items(), key=lambda item: item[1])
        return ",".join(name.lower() for name, bit in ordered if bits & bit) or "0"
    if what in ("iifname", "oifname", "meta ibrname", "meta obrname"):
        return '"' + text(value) + ("" if b"\0" in value or len(value) == 16 else "*") + '"'
    if what in ("ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr"):
        width = 4 if what.startswith("ip ") else 16
        return socket.inet_ntop(socket.AF_INET if width == 4 else socket.AF_INET6, value.ljust(width, b"\0")[:width])
    if what in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
        return PROTOCOLS.get(number(value), str(number(value)))
    if what == "meta nfproto":
        return NFPROTO.get(number(value), str(number(value)))
    if what in ("th sport", "th dport"):
        return str(number(value))
    if what in ("meta mark", "ct mark", "iif", "oif"):
        return f"{int.from_bytes(value, sys.byteorder):#x}"
    return "0x" + value.hex()
