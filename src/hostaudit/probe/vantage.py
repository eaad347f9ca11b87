"""Sends a task to every vantage point at once, here and at hosts, and brings the answers back as values."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit import border
from hostaudit.collect import ask
from hostaudit.model import Unreachable
from hostaudit.probed import HERE, Vantage
from hostaudit.task import CollectOptions, Task
from hostaudit_agent import probe as agent
from hostaudit_agent.probe import arp, dns, mtu, tcp, tls  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hostaudit.model import Host

MARGIN = 30.0
"""Seconds for the agent's delivery, beside the probe's own time."""


class Answer(msgspec.Struct):
    """What the agent of one vantage point answered."""

    tcp: list[tcp.Connection] = []
    arp: list[arp.Heard] = []
    mtu: list[mtu.Path] = []
    tls: list[tls.Shown] = []
    dns: list[dns.Asked] = []
    errors: dict[str, str] = {}


# Made here, once: see ``border``.
_DECODER = msgspec.json.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Reply:
    """One vantage point, and what it answered; ``None`` where it could not be reached."""

    vantage: Vantage
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class From:
    """Where probes are sent from."""

    hosts: tuple[Host, ...] = ()
    here: bool = True
    options: CollectOptions = field(default_factory=CollectOptions)
    notice: Callable[[str], object] | None = None

    @property
    def names(self) -> list[str]:
        """The vantage points' names, this machine first."""
        return [*([HERE] if self.here else []), *(host.name for host in self.hosts)]


def perform(where: From, tasks: Mapping[str, Mapping[str, Any]], seconds: float) -> list[Reply]:
    """Do the task of each vantage point that has one: ``HERE`` in this process, the others by the agent on the host.

    All begin at about the same time, whatever ``forks`` says: an echo has to be there while its peer asks. ``seconds``
    is how long a task may take by itself. The replies come in the order of ``where.names``.
    """
    from hostaudit.bundle import build

    away = [host for host in where.hosts if host.name in tasks]
    replies: dict[str, Reply] = {}
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit(here, tasks[HERE]) if where.here and HERE in tasks else None
        if away:
            jobs = [(host, _task(tasks[host.name], seconds)) for host in away]
            wide = replace(where.options, forks=max(where.options.forks, len(jobs)))
            for said in ask(jobs, build(), wide, notice=where.notice):
                name = said.host.name
                replies[name] = (
                    Reply(Vantage(name, "unreachable", said.reason))
                    if isinstance(said, Unreachable)
                    else Reply(Vantage(name), said.value)
                )
        if own:
            replies[HERE] = Reply(Vantage(HERE), own.result())
    return [replies[name] for name in where.names if name in replies]


def here(task: Mapping[str, Any]) -> Answer:
    """Do a task in this process. It is encoded all the same: what works here works there."""
    answer = agent.perform(json.loads(_encoded(task)))
    return border.decoded(_DECODER, json.dumps(answer, default=vars).encode(), HERE)


def _task(task: Mapping[str, Any], seconds: float) -> Task:
    return Task(("probe", _encoded(task)), seconds + MARGIN, lambda body, where: border.decoded(_DECODER, body, where))


def _encoded(task: Mapping[str, Any]) -> str:
    def plain(what: Any) -> Any:
        return asdict(what) if is_dataclass(what) and not isinstance(what, type) else what

    return json.dumps({kind: plain(what) for kind, what in task.items()})
