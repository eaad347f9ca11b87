"""What the agent is asked to do on a host, how, and what came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit.login import Flags
from hostaudit_agent.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit.model import Host

RUN = 30.0
"""Seconds for the agent's delivery and its work, beside the interval."""
IN_TIME = 0.8
"""The share of that which the agent may take; the rest is for delivery, the last step it takes, and the way back."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a host answered to its task."""

    host: Host
    value: Any
    """What the task's ``decode`` made of it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Task:
    """One command of the agent."""

    arguments: tuple[str, ...]
    seconds: float
    """From the login to the answer."""
    decode: Callable[[bytes, str], Any]
    """Gets the answer's body and the host's name. Raises HostError."""
    live: Callable[[Callable[[bytes], object]], object] | None = None
    """Called on the host's thread once the agent says that it is ready, with what sends bytes to it."""
    made: Callable[[Host, Any, float], Any] = Answered


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """How to collect. Times in seconds, sizes in bytes."""

    forks: int = 20
    connect_timeout: float = 10.0
    """For each step of connecting: TCP, ssh's greeting and key exchange, login."""
    run_timeout: float | None = None
    """From the login to the answer; by default the interval and 30 s."""
    interval: float = 2.0
    """Between the agent's two samples; 0: one sample."""
    all_netns: bool = False
    census: bool = False
    max_output: int = 8 << 20
    flags: Flags = field(default_factory=Flags)
    """What the command line says about logging in."""
    configured: Flags = field(default_factory=Flags)
    """What ansible.cfg says (``inventory.configured``)."""

    @property
    def seconds(self) -> float:
        """The whole time of a run on a host."""
        return self.interval + RUN if self.run_timeout is None else self.run_timeout

    @property
    def arguments(self) -> tuple[str, ...]:
        """The agent's command line. Its budget ends before our patience does: a part of an answer is worth more."""
        wall = max(1.0, IN_TIME * (self.seconds - self.interval))
        cpu = max(Budget().cpu, wall * Budget().cpu / Budget().wall)  # who waits longer knows that the host is slow
        budget = f"wall={wall:g},cpu={cpu:g},answer={self.max_output / (1 << 20):g}"
        chosen = (("--all-netns", self.all_netns), ("--census", self.census))
        return ("--interval", f"{self.interval:g}", "--budget", budget, *(name for name, on in chosen if on))
