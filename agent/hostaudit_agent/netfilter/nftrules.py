"""Judges rules of nf_tables: which drop packets in state INVALID, and which exempt packets from tracking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit_agent.budget import check
from hostaudit_agent.netfilter import nfttoobig
from hostaudit_agent.netfilter.chains import DROPS, STATES, Fates, Found, Graph, Reading, Step
from hostaudit_agent.netfilter.nftables import MALFORMED, PART
from hostaudit_agent.netfilter.nftread import FAMILIES, Key, rule
from hostaudit_agent.netfilter.nftrun import run
from hostaudit_agent.netlink import attribute, text
from hostaudit_agent.records import replace
from hostaudit_agent.snapshot import Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.nftexpr import Outcome, Set, Verdict
    from hostaudit_agent.netfilter.nftread import RawRule, Ruleset

IPTABLES_TABLES = frozenset(("filter", "nat", "mangle", "raw", "security", "broute"))
IPTABLES_CHAINS = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "BROUTING"))
TO_VERDICT = attribute(3, bytes(4))  # NFTA_LOOKUP_DREG is NFT_REG_VERDICT: a verdict map
DROPPING = ("drop", "reject")


def judge(ruleset: Ruleset) -> Reading:
    """Return what a ruleset holds."""
    return Judge(ruleset).reading


class Judge:
    """Takes the rules of one ruleset apart."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.reading = Reading()
        self.graph = Graph()
        self.entrances: dict[Key, int] = {}
        self.fates: dict[Key, Fates] = {}
        self.backends: dict[Key, str] = {}
        self.mapped = False
        self._count()
        found = [(raw, judged) for raw in ruleset.rules for judged in self._judge(raw)]
        for source, target in ruleset.jumps:
            self._edge(source, target)
        if any(not ruleset.chains[raw.key].hook for raw, _ in found if raw.key in ruleset.chains) or any(
            judged.rule.verdict.startswith("jump") for _, judged in found
        ):
            self._follow_maps()
        for raw, judged in found:
            judged.rule.hooks = self.graph.hooks(raw.key)
            if judged.rule.verdict.startswith("jump ") and judged.rule.packets is None:
                self._take_counter(raw, judged.rule)
            (self.reading.notrack if judged.rule.verdict == "notrack" else self.reading.invalid).append(judged)
        if ruleset.altering:
            self._altering()
        nfttoobig.too_big(self)

    def _altering(self) -> None:
        from hostaudit_agent.netfilter import nftalter  # noqa: PLC0415 - most hosts have none

        if any(not self.ruleset.chains[key].hook for key, _, _ in self.ruleset.altering if key in self.ruleset.chains):
            self._follow_maps()
        nftalter.alterations(self.ruleset, self.backend, self.graph.hooks, self._show, self.reading)

    def _show(self, raw: RawRule) -> tuple[str, list[tuple[str, str, str]]]:
        from hostaudit_agent.netfilter import nftwords  # noqa: PLC0415 - most hosts have nothing to show

        return self.text(raw), nftwords.conditions(raw.program, self.sets(raw.key))

    def _count(self) -> None:
        """Note backends, policies and base chains."""
        for key, chain in self.ruleset.chains.items():
            part = f"{self.backend(key)}/{_family(key)}"
            if key.table == "kube-proxy":
                self.reading.kube_proxy.add("nftables")
            elif key.chain.startswith("KUBE-SVC-"):
                self.reading.kube_proxy.add("iptables")
            self.reading.backends[part] = self.reading.backends.get(part, 0) + self.ruleset.counts.get(key, 0)
            if chain.hook:
                self.reading.policies[f"{part}/{key.table}/{key.chain}"] = chain.policy
                if chain.active:
                    self.graph.base(key, chain.hook)

    def backend(self, key: Key) -> str:
        """Tell iptables-nft's tables by their names and by those of all their base chains."""
        table = key._replace(chain="")
        if table not in self.backends:
            names = {other.chain for other, c in self.ruleset.chains.items() if other[:2] == key[:2] and c.hook}
            own = _family(key) in ("ip", "ip6", "arp", "bridge") and key.table in IPTABLES_TABLES
            self.backends[table] = "iptables-nft" if own and names and names <= IPTABLES_CHAINS else PART
        return self.backends[table]

    def _edge(self, source: Key, target: str) -> None:
        key = source._replace(chain=target)
        self.graph.edge(source, key)
        self.entrances[key] = self.entrances.get(key, 0) + 1

    def _follow_maps(self) -> None:
        """Add the jumps that go through verdict maps, once."""
        if self.mapped:
            return
        self.mapped = True
        for key, payload in self.ruleset.lookups:
            if TO_VERDICT not in payload:
                continue
            try:
                raw = rule(key, 0, payload)
                targets = set()
                for name, data in raw.program:
                    if name == "lookup" and data.get(3) == bytes(4):
                        verdicts = (e.verdict for e in self.ruleset.find_set(key, text(data[1])).elements())
                        targets |= {verdict.chain for verdict in verdicts if verdict and verdict.chain}
            except (OSError, *MALFORMED) as error:
                self._unread(key, f"a verdict map could not be followed: {getattr(error, 'strerror', None) or error!r}")
                continue
            for target in targets:
                self._edge(key, target)

    def _unread(self, key: Key, reason: str) -> None:
        self.reading.unread.append((f"{PART}/{_family(key)}/{key.table}/{key.chain}", reason))

    def _judge(self, raw: RawRule) -> list[Found[Rule]]:
        """Return the rule if it is one of those looked for, and note what could not be told."""
        check()
        try:
            outcomes = {state: run(raw.program, state, self.sets(raw.key)) for state in STATES}
            outcome = outcomes["INVALID"]
            if any(each.notrack for each in outcomes.values()):
                states = [state for state, each in outcomes.items() if each.notrack and each.state_used]
                return [self._found(raw, "notrack", states, outcome)]
            chosen = next((v for v in outcome.verdicts if self._drops(raw.key, v)), None)
            if outcome.doubt or (chosen and outcome.state_loaded and not outcome.state_used):
                self._unread(raw.key, f"rule {raw.position}: {outcome.doubt or 'unknown use of ct state'}")
            if chosen is None or not outcome.state_used:
                return []
            same = [s for s, o in outcomes.items() if any(v[:2] == chosen[:2] for v in o.verdicts) and o.matched]
            verdict = chosen.code if chosen.code in DROPPING else "jump " + chosen.chain
            return [self._found(raw, verdict, same, replace(outcome, counter=chosen.counter))]
        except (OSError, *MALFORMED) as error:
            self._unread(raw.key, f"rule {raw.position}: {getattr(error, 'strerror', None) or repr(error)}")
            return []

    def sets(self, key: Key) -> Callable[[str], Set]:
        """Return what finds the sets of a chain's table."""
        return lambda name: self.ruleset.find_set(key, name)

    def _found(self, raw: RawRule, verdict: str, states: list[str], outcome: Outcome) -> Found[Rule]:
        backend, key = self.backend(raw.key), raw.key
        counter = self.counter(key, outcome.counter)
        return Found(
            Rule(
                backend=backend,
                family=_family(key),
                table=key.table,
                chain=key.chain,
                index=raw.position,
                text=self.text(raw),
                states=states,
                narrowed=outcome.narrowed,
                verdict=verdict,
                hooks=[],
                packets=counter[0],
                bytes=counter[1],
            ),
            (PART, _family(key), key.table, key.chain, raw.handle),
        )

    def text(self, raw: RawRule) -> str:
        """Return a rule as its own tool shows it."""
        from hostaudit_agent.netfilter import nfttext  # noqa: PLC0415 - most hosts have nothing to show

        if self.backend(raw.key) == PART:
            return nfttext.nft(raw.program, raw.userdata, self.sets(raw.key))
        return nfttext.iptables(raw.key.chain, raw.program, _family(raw.key), self.sets(raw.key))

    def _drops(self, key: Key, verdict: Verdict) -> bool:
        if verdict.code in ("jump", "goto"):
            return self._fates(key).of(verdict.chain) == DROPS
        return verdict.code in DROPPING

    def _fates(self, key: Key) -> Fates:
        table = key._replace(chain="")
        if table not in self.fates:
            self.fates[table] = Fates(lambda chain: self._steps(table._replace(chain=chain)))
        return self.fates[table]

    def _steps(self, key: Key) -> list[Step]:
        """Return what the rules of a chain do to a packet in state INVALID."""
        steps = []
        for raw in self.ruleset.in_chain(key):
            outcome = run(raw.program, "INVALID", self.sets(key))
            conditional = outcome.narrowed or bool(outcome.doubt)
            if outcome.matched:
                steps += [Step(conditional, v.code, v.chain, v.counter) for v in outcome.verdicts]
        return steps

    def _take_counter(self, raw: RawRule, rule: Rule) -> None:
        """Give a jump without counter that of the drop it leads to, if nothing else leads there."""
        target = raw.key._replace(chain=rule.verdict[len("jump ") :])
        first = next(iter(self._steps(target)), None)
        if first is None or first.conditional or first.verdict not in DROPPING or self.entrances.get(target) != 1:
            return
        rule.packets, rule.bytes = self.counter(target, first.counter)

    def counter(self, key: Key, counter: tuple[int, int] | str | None) -> tuple[int, int] | tuple[None, None]:
        """Return packets and bytes; a name is looked up."""
        if isinstance(counter, str):
            counter = self.ruleset.named_counter(key, counter)
        return counter or (None, None)


def _family(key: Key) -> str:
    return FAMILIES.get(key.family, str(key.family))
