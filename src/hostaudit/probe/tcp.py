"""``probe tcp``: handshakes with every address of every target, from every vantage point at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostaudit.probe import results, targets, vantage
from hostaudit.probed import Probes, Series
from hostaudit_agent.probe import tcp as agent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.probe.targets import Named


@dataclass(frozen=True, slots=True)
class Plan:
    """What to try. Times in seconds."""

    count: int = 120
    interval: float = 0.15
    timeout: float = 2.0
    ports: tuple[int, int] = agent.PORTS
    send: str = ""
    expect: str = ""

    @property
    def seconds(self) -> float:
        """How long it may take."""
        return self.count * self.interval + 2 * self.timeout


SHORT = Plan(count=20, interval=0.05)
"""For ``run --probe``: enough for an even share of source ports to show, and over in a second where all is well."""
MANAGEMENT = Plan(count=10, interval=0.3)
"""The same for SSH and consoles. OpenSSH 9.8 and later turns an address away (PerSourcePenalties) when connections
without a login have cost it 15 s, and counts 1 s for each: more would lock out the audit itself."""


def probe(named: Sequence[Named], plan: Plan, where: vantage.From) -> Probes:
    """Try every address of the targets; a name that cannot be resolved is told as one that could not be tried."""
    everything = [one for name in named for one in targets.known(name)]
    addressed = [one for one in everything if not one.error]
    task = agent.Request(
        [agent.Target(one.address, one.port) for one in addressed],
        plan.count,
        plan.interval,
        plan.timeout,
        "",
        list(plan.ports),
        0,
        plan.send,
        plan.expect,
    )
    replies = vantage.perform(where, {name: {"tcp": task} for name in where.names} if addressed else {}, plan.seconds)
    found = [one for reply in replies for one in results.series(reply, addressed)]
    nameless = [one for one in everything if one.error]
    found += [Series(name, o.target, "", o.port, error=o.error) for name in where.names for o in nameless]
    order = {one.target: number for number, one in enumerate(everything)}
    return Probes(
        tuple(reply.vantage for reply in replies),
        tcp=tuple(sorted(found, key=lambda s: (order[s.target], where.names.index(s.vantage)))),
    )
