"""Judges rules of legacy iptables: which drop packets in state INVALID, and which exempt packets from tracking."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.budget import check
from hostaudit_agent.netfilter import iptalter, ipttoobig, xtables, xtmatch
from hostaudit_agent.netfilter.chains import DROPS, STATES, Fates, Found, Graph, Step
from hostaudit_agent.snapshot import Rule

if TYPE_CHECKING:
    from hostaudit_agent.netfilter.chains import Reading
    from hostaudit_agent.netfilter.xtables import Blob, Chain, Entry

BACKEND = "iptables-legacy"
F_FRAGMENT, F_GOTO = {"ip": 1, "ip6": 0}, {"ip": 2, "ip6": 4}
INVERT_IN, INVERT_OUT, INVERT_SOURCE, INVERT_TARGET, INVERT_FRAGMENT, INVERT_PROTOCOL = 1, 2, 8, 16, 32, 64
PROTOCOLS = {
    1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
    58: "ipv6-icmp", 89: "ospf", 112: "vrrp", 132: "sctp", 136: "udplite",
}  # fmt: skip


def judge(blob: Blob, reading: Reading) -> None:
    """Add what one table holds; OSError (EBADMSG) where it does not parse."""
    table = xtables.outline(blob)
    family, graph = blob.family.name, Graph()
    by_start = {chain.first: chain for chain in table.chains}
    for chain in table.chains:
        if chain.hook:
            graph.base(chain.name, chain.hook)
            policy = xtables.entry(blob, blob.underflows[chain.hook]).target.lower()
            reading.policies[f"{BACKEND}/{family}/{blob.table}/{chain.name}"] = policy
    for chain, start in table.jumps:
        if start not in by_start:
            raise OSError(errno.EBADMSG, f"table {blob.table}: chain {chain.name} jumps to no chain")
        graph.edge(chain.name, by_start[start].name)
    part = f"{BACKEND}/{family}"
    reading.backends[part] = reading.backends.get(part, 0) + sum(chain.rules for chain in table.chains)
    judgement = Judgement(blob, by_start)
    repeated: dict[tuple[str, str], int] = {}
    for chain, index, offset in table.candidates:
        check()
        try:
            found = judgement.rule(chain, index, offset)
        except xtmatch.Unknown as error:
            reading.unread.append((f"{part}/{blob.table}/{chain.name}", f"rule {index}: {error}"))
            continue
        if found is None:
            continue
        rule, notrack = found
        rule.hooks = graph.hooks(chain.name)
        ordinal = repeated[chain.name, rule.text] = repeated.get((chain.name, rule.text), 0) + 1
        key = (BACKEND, family, blob.table, chain.name, rule.text, ordinal)
        (reading.notrack if notrack else reading.invalid).append(Found(rule, key))
    if table.altering:
        iptalter.alterations(table, graph, judgement, reading)
    if blob.table != "nat":
        ipttoobig.too_big(table, judgement, reading)
    if any(chain.name.startswith("KUBE-SVC-") for chain in table.chains):
        reading.kube_proxy.add("iptables")
    elif any(chain.name == "KUBE-NODE-PORT" for chain in table.chains):
        reading.kube_proxy.add("ipvs")


class Judgement:
    """Takes single rules of one table apart."""

    def __init__(self, blob: Blob, by_start: dict[int, Chain]) -> None:
        self.blob = blob
        self.by_start = by_start
        self.by_name = {chain.name: chain for chain in by_start.values()}
        self.fates = Fates(self._steps)

    def rule(self, chain: Chain, index: int, offset: int) -> tuple[Rule, bool] | None:
        """Return the rule and whether it is one of no tracking; ``None`` for a rule that is neither."""
        entry = xtables.entry(self.blob, offset)
        states = _states(entry)
        verdict = self.verdict(entry)
        notrack = xtmatch.is_notrack(entry.target, entry.info)
        if not notrack:
            if states is None or "INVALID" not in states:
                return None
            if verdict in ("jump", "goto"):
                target = self.by_start[entry.goes_to].name
                if self.fates.of(target) != DROPS:
                    return None
                verdict = "jump " + target
            elif verdict not in ("drop", "reject"):
                return None
        return Rule(
            backend=BACKEND,
            family=self.blob.family.name,
            table=self.blob.table,
            chain=chain.name,
            index=index,
            text=self.text(chain, entry),
            states=sorted(states, key=_order) if states else [],
            narrowed=_narrowed(entry),
            verdict="notrack" if notrack else verdict,
            hooks=[],
            packets=entry.packets,
            bytes=entry.octets,
        ), notrack

    def verdict(self, entry: Entry) -> str:
        """Return what the rule does with a packet that it matches, in the words of ``chains.Step``."""
        if entry.target == "jump":
            family = self.blob.family
            flags = entry.ip[82] if family.name == "ip" else entry.ip[131]
            return "goto" if flags & F_GOTO[family.name] else "jump"
        if entry.target in ("DROP", "REJECT", "ACCEPT", "RETURN", "QUEUE", "continue"):
            return entry.target.lower()
        return "continue" if entry.target in xtmatch.PASSING else entry.target

    def _steps(self, name: str) -> list[Step]:
        """Return what the rules of a chain do to a packet in state INVALID."""
        chain, steps = self.by_name[name], []
        offset = chain.first
        for _ in range(chain.rules):
            entry = xtables.entry(self.blob, offset)
            offset += entry.length
            try:
                states = _states(entry)
            except xtmatch.Unknown:
                steps.append(Step(conditional=True, verdict="unknown"))
                continue
            if states is None or "INVALID" in states:
                target = self.by_start[entry.goes_to].name if entry.goes_to in self.by_start else ""
                steps.append(Step(_narrowed(entry), self.verdict(entry), target))
        return steps

    def text(self, chain: Chain, entry: Entry) -> str:
        """Return the rule as iptables-legacy-save prints it."""
        family = self.blob.family.name
        parts = [f"-A {chain.name}", *(_ipv4(entry.ip) if family == "ip" else _ipv6(entry.ip))]
        parts += [xtmatch.match_text(*match) for match in entry.matches]
        if entry.target == "jump":
            parts.append(f"-{'g' if self.verdict(entry) == 'goto' else 'j'} {self.by_start[entry.goes_to].name}")
        elif entry.target in xtmatch.VERDICTS.values():
            parts.append(f"-j {entry.target}")
        elif entry.target != "continue":
            parts.append(xtmatch.target_text(entry.target, entry.info, family))
        return " ".join(parts)


def _order(state: str) -> int:
    return STATES.index(state) if state in STATES else len(STATES)


def _states(entry: Entry) -> set[str] | None:
    """Return the states that pass all the rule's state matches; ``None`` when it has none."""
    found: set[str] | None = None
    for name, revision, info in entry.matches:
        states = xtmatch.states(name, revision, info)
        if states is not None:
            found = states if found is None else found & states
    return found


def _narrowed(entry: Entry) -> bool:
    """Tell whether anything but the connection's state limits what the rule matches."""
    others = any(
        name != "comment" and xtmatch.states(name, revision, info) is None for name, revision, info in entry.matches
    )
    if len(entry.ip) == 84:  # struct ipt_ip: masks of the addresses, masks of the interfaces, protocol, inversions
        limits = entry.ip[8:16] + entry.ip[48:82] + bytes([entry.ip[82] & F_FRAGMENT["ip"], entry.ip[83]])
    else:  # struct ip6t_ip6; the protocol counts only with a flag, which iptables sets whenever it is not 0
        limits = entry.ip[32:64] + entry.ip[96:130] + entry.ip[132:133]
    return others or bool(limits.strip(b"\0"))


def _ipv4(ip: bytes) -> list[str]:
    protocol, flags, invert = struct.unpack_from("=HBB", ip, 80)
    parts = [
        *address("-s", socket.AF_INET, ip[0:4], ip[8:12], invert & INVERT_SOURCE),
        *address("-d", socket.AF_INET, ip[4:8], ip[12:16], invert & INVERT_TARGET),
        *_interfaces(ip[16:80], protocol, invert),
    ]
    if flags & F_FRAGMENT["ip"]:
        parts.append("! -f" if invert & INVERT_FRAGMENT else "-f")
    return parts


def _ipv6(ip: bytes) -> list[str]:
    (protocol,) = struct.unpack_from("=H", ip, 128)
    invert = ip[132]
    return [
        *address("-s", socket.AF_INET6, ip[0:16], ip[32:48], invert & INVERT_SOURCE),
        *address("-d", socket.AF_INET6, ip[16:32], ip[48:64], invert & INVERT_TARGET),
        *_interfaces(ip[64:128], protocol, invert),
    ]


def address(option: str, domain: int, network: bytes, mask: bytes, inverted: int) -> list[str]:
    """Return -s or -d with an address and its mask; nothing where any address matches."""
    if not mask.strip(b"\0") and not inverted:
        return []
    bits = f"{int.from_bytes(mask, 'big'):0{8 * len(mask)}b}"
    length = len(bits.rstrip("0"))
    shown = socket.inet_ntop(domain, mask) if "0" in bits[:length] else str(length)
    return [f"{'! ' if inverted else ''}{option} {socket.inet_ntop(domain, network)}/{shown}"]


def _interfaces(names: bytes, protocol: int, invert: int) -> list[str]:
    """Return -i, -o and -p from iniface, outiface and their masks."""
    parts = []
    for bit, option, name, mask in (
        (INVERT_IN, "-i", names[0:16], names[32:48]),
        (INVERT_OUT, "-o", names[16:32], names[48:64]),
    ):
        if mask.strip(b"\0"):
            parts.append(f"{'! ' if invert & bit else ''}{option} {xtmatch.interface(name, mask)}")
    if protocol:
        parts.append(f"{'! ' if invert & INVERT_PROTOCOL else ''}-p {PROTOCOLS.get(protocol, str(protocol))}")
    return parts
