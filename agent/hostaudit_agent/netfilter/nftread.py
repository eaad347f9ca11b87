"""Reads nf_tables through netlink: tables, chains and all rules at once, sets and counters when they are needed.

Messages and attributes: include/uapi/linux/netfilter/nf_tables.h. A rule's message begins with NFTA_RULE_TABLE and
NFTA_RULE_CHAIN, and rules come chain by chain in their order (nf_tables_fill_rule_info, nf_tables_dump_rules). Of ten
thousand rules a handful matter here, so a rule is taken apart only when its bytes hold the name of an expression that
looks at connection tracking.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.netfilter.nftexpr import Element, Set, counter, element, expressions, number, verdict
from hostaudit_agent.netfilter.nftnames import ALTERING, JUMPS, LOOKUP, STATE
from hostaudit_agent.netlink import attribute, attribute_header, attributes, text, walk

if TYPE_CHECKING:
    from hostaudit_agent.netfilter.nftexpr import Expression
    from hostaudit_agent.netlink import Netlink

SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
GET_TABLE, GET_CHAIN, GET_RULE, GET_SET, GET_ELEMENTS, GET_GENERATION, GET_OBJECTS = (
    SUBSYSTEM | message for message in (1, 4, 7, 10, 13, 16, 19)
)
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
NETDEV_HOOKS = ("ingress", "egress")
ARP_HOOKS = ("input", "output", "forward")
POLICIES = {0: "drop", 1: "accept"}
DORMANT = 1  # NFT_TABLE_F_DORMANT: the base chains of such a table are not registered
OBJECT_COUNTER = 1
MAX_ELEMENTS = 50_000
MOST_PAYLOADS = 3000
NFGENMSG_SIZE = 4


class Key(NamedTuple):
    """A chain's identity; ``chain`` is empty where a table is meant."""

    family: int
    table: str
    chain: str = ""


class RawRule(NamedTuple):
    """A rule that deserves a closer look."""

    key: Key
    position: int
    """In its chain, from 1."""
    handle: int
    program: list[Expression]
    userdata: bytes


class Chain(NamedTuple):
    """A chain as the kernel describes it."""

    key: Key
    hook: str
    """Empty for a chain that is only jumped to."""
    policy: str
    active: bool
    """False for base chains of a dormant table."""
    kind: str = ""
    """Of a base chain: ``filter``, ``nat``, ``route``."""


class Ruleset:
    """One reading of nf_tables. OSError: the kernel's answer, or EBADMSG for what does not parse."""

    def __init__(self, nl: Netlink) -> None:
        self.nl = nl
        self.generation = generation(nl)
        self.counts: dict[Key, int] = {}
        self.rules: list[RawRule] = []
        self.altering: list[tuple[Key, int, bytes]] = []
        """Chain, position and payload of rules with NAT, or that may write a TCP option."""
        self.payloads: dict[Key, list[bytes]] = {}
        """The first rules of each chain."""
        self.jumps: list[tuple[Key, str]] = []
        self.lookups: list[tuple[Key, bytes]] = []
        """Payloads of rules that look something up: they may jump by a verdict map."""
        self.chains = self._chains()
        self._scan()
        self._sets: dict[Key, dict[str, Set]] = {}
        self._counters: dict[Key, dict[str, tuple[int, int]]] = {}

    def _chains(self) -> dict[Key, Chain]:
        dormant = set()
        for _, payload in self.nl.dump(GET_TABLE, bytes(NFGENMSG_SIZE)):
            data = attributes(payload, NFGENMSG_SIZE)
            if number(data.get(2, b"")) & DORMANT:
                dormant.add((payload[0], text(data[1])))
        found = {}
        for _, payload in self.nl.dump(GET_CHAIN, bytes(NFGENMSG_SIZE)):
            data = attributes(payload, NFGENMSG_SIZE)
            key = _key(payload[0], data, 1, 3)
            hook = policy = ""
            if 4 in data:  # NFTA_CHAIN_HOOK
                hook = _hook(key.family, number(attributes(data[4])[1]))
                policy = POLICIES.get(number(data.get(5, b"\1")), "unknown")
            kind = text(data.get(7, b""))  # NFTA_CHAIN_TYPE
            found[key] = Chain(key, hook, policy, (key.family, key.table) not in dormant, kind)
        return found

    def _scan(self) -> None:
        """Read all rules, and keep what matters."""
        unpack = attribute_header.unpack_from
        known: dict[bytes, Key] = {}
        counts: dict[bytes, int] = {}
        payloads: dict[bytes, list[bytes]] = {}
        for _, payload in self.nl.dump(GET_RULE, bytes(NFGENMSG_SIZE)):
            length = unpack(payload, 4)[0]
            second = 4 + (length + 3 & ~3)
            prefix = payload[: second + unpack(payload, second)[0]]
            index = counts[prefix] = counts.get(prefix, 0) + 1
            if index == 1:
                known[prefix] = _key(prefix[0], attributes(prefix, 4), 1, 2)
            for jump in JUMPS:
                if jump in payload:
                    self.jumps += [(known[prefix], target) for target in _jump_targets(payload, jump)]
            if LOOKUP in payload:
                self.lookups.append((known[prefix], payload))
            for name in STATE:
                if name in payload:
                    self.rules.append(rule(known[prefix], index, payload))
                    break
            for name in ALTERING:
                if name in payload:
                    self.altering.append((known[prefix], index, payload))
                    break
            if index <= MOST_PAYLOADS:
                payloads.setdefault(prefix, []).append(payload)
        self.counts = {known[prefix]: count for prefix, count in counts.items()}
        self.payloads = {known[prefix]: found for prefix, found in payloads.items()}

    def in_chain(self, key: Key) -> list[RawRule]:
        """Return all rules of one chain; kernels that do not filter send more, which is dropped here."""
        request = bytes([key.family, 0, 0, 0]) + attribute(1, key.table.encode() + b"\0")
        request += attribute(2, key.chain.encode() + b"\0")
        found: list[RawRule] = []
        for _, payload in self.nl.dump(GET_RULE, request):
            if _key(payload[0], attributes(payload, NFGENMSG_SIZE), 1, 2) == key:
                found.append(rule(key, len(found) + 1, payload))
        if len(found) != self.counts.get(key, 0):
            raise OSError(errno.EAGAIN, f"chain {key.chain} changed while it was read")
        return found

    def find_set(self, key: Key, name: str) -> Set:
        """Return a set of a chain's table; OSError (ENOENT) where there is none of that name."""
        table = Key(key.family, key.table)
        if table not in self._sets:
            self._sets[table] = self._read_sets(table)
        found = self._sets[table].get(name)
        if found is None:
            raise OSError(errno.ENOENT, f"table {table.table} has no set {name}")
        return found

    def _read_sets(self, table: Key) -> dict[str, Set]:
        request = bytes([table.family, 0, 0, 0]) + attribute(1, table.table.encode() + b"\0")
        found = {}
        for _, payload in self.nl.dump(GET_SET, request):
            data = attributes(payload, NFGENMSG_SIZE)
            name = text(data[2])
            if payload[0] == table.family and text(data[1]) == table.table:
                found[name] = Set(
                    number(data.get(3, b"")), number(data[5]), _Elements(self.nl, table, name, number(data.get(3, b"")))
                )
        return found

    def named_counter(self, key: Key, name: str) -> tuple[int, int] | None:
        """Return packets and bytes of a counter object of a chain's table."""
        table = Key(key.family, key.table)
        if table not in self._counters:
            request = bytes([table.family, 0, 0, 0]) + attribute(1, table.table.encode() + b"\0")
            found = self._counters[table] = {}
            for _, payload in self.nl.dump(GET_OBJECTS, request):
                data = attributes(payload, NFGENMSG_SIZE)
                if text(data[1]) == table.table and payload[0] == table.family and number(data[3]) == OBJECT_COUNTER:
                    found[text(data[2])] = counter(attributes(data[4]))
        return self._counters[table].get(name)


class _Elements:
    """The elements of one set, read once, when first asked for."""

    def __init__(self, nl: Netlink, table: Key, name: str, flags: int) -> None:
        self.nl, self.table, self.name, self.flags = nl, table, name, flags
        self.found: list[Element] | None = None

    def __call__(self) -> list[Element]:
        if self.found is None:
            self.found = self._read()
        return self.found

    def _read(self) -> list[Element]:
        request = bytes([self.table.family, 0, 0, 0]) + attribute(1, self.table.table.encode() + b"\0")
        request += attribute(2, self.name.encode() + b"\0")
        found: list[Element] = []
        for _, payload in self.nl.dump(GET_ELEMENTS, request):
            for _, value in walk(attributes(payload, NFGENMSG_SIZE).get(3, b"")):
                found.append(element(value))
                if len(found) > MAX_ELEMENTS:
                    raise OSError(errno.E2BIG, f"set {self.name} has more than {MAX_ELEMENTS} elements")
        return found


def generation(nl: Netlink) -> int:
    """Return the ruleset's generation: it changes whenever anybody changes a rule, set or chain."""
    return number(attributes(nl.request(GET_GENERATION, bytes(NFGENMSG_SIZE))[1], NFGENMSG_SIZE).get(1, b""))


def rule(key: Key, index: int, payload: bytes) -> RawRule:
    """Take a rule's message apart."""
    data = attributes(payload, NFGENMSG_SIZE)
    return RawRule(key, index, number(data[3]), expressions(data.get(4, b"")), data.get(7, b""))


def _key(family: int, data: dict[int, bytes], table: int, chain: int) -> Key:
    return Key(family, text(data[table]), text(data[chain]))


def _hook(family: int, hook: int) -> str:
    hooks = {"netdev": NETDEV_HOOKS, "arp": ARP_HOOKS}.get(FAMILIES.get(family, ""), INET_HOOKS)
    return hooks[hook] if hook < len(hooks) else str(hook)


def _jump_targets(payload: bytes, jump: bytes) -> list[str]:
    """Return where a rule jumps to: NFTA_VERDICT_CHAIN, which the kernel puts right behind NFTA_VERDICT_CODE."""
    at = payload.index(jump) + len(jump)
    try:
        kind, value = next(walk(payload, at))
    except (OSError, StopIteration):
        kind, value = 0, b""
    if kind == 2:
        return [text(value)]
    program = rule(Key(0, ""), 0, payload).program  # those bytes stand somewhere else: in a comment, for instance
    parts = (attributes(expression.data[2]) for expression in program if expression.name == "immediate")
    return [chain for chain in (verdict(part[2]).chain for part in parts if 2 in part) if chain]
