"""Hosts that exist in memory only, for the order of the steps; the lab has the real ones."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hostaudit.apply import runner
from hostaudit.apply.guard import Reply
from hostaudit.apply.resume import Guard
from hostaudit.change.context import Context, Ways
from hostaudit.collect import CollectOptions
from hostaudit.journal import Actor
from hostaudit.knobs import ALLOW_INVALID, HOST_FW
from hostaudit.model import Collected, Host, Plan, Unreachable
from hostaudit_agent.snapshot import Assignment, Knob, Platform, Proxmox, Snapshot, Sysctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pytest

    from hostaudit.journal import Journal
    from hostaudit.model import PlannedChange

KEY = "net.core.somaxconn"
OPTION = ALLOW_INVALID.removeprefix(HOST_FW)


@dataclass
class Machine:
    """One host: its knob, its guard, and what is wrong with it."""

    value: str = "4096"
    before: str = "4096"
    guard: Guard = Guard.NONE
    events: list[str] = field(default_factory=list)
    reachable: bool = True
    deaf: bool = False
    """The role says that it worked, and changed nothing."""
    forgetful: bool = False
    """The role changes what runs, and no file."""
    lag: int = 0
    """Readings after an undo until what runs follows what was put back."""
    shown: int = 0
    """Of these, the ones still to come."""
    late: str = ""
    """What is read until then."""

    def revert(self, event: str = "reverted") -> None:
        self.late, self.shown = self.value, self.lag
        self.value, self.guard = self.before, Guard.NONE
        self.events.append(event)

    def read(self) -> str:
        self.shown -= 1
        return self.late if self.shown >= 0 else self.value


class Fakes(Context):
    """A context whose hosts are machines."""

    machines: dict[str, Machine]
    on_ask: Callable[[str, str], object]

    def read(self, names: Iterable[str], interval: float) -> dict[str, Collected | Unreachable]:
        del interval
        found: dict[str, Collected | Unreachable] = {}
        for name in names:
            machine, host = self.machines[name], self.hosts[name]
            if machine.reachable:
                value = machine.read()
                kept = value != "4096" and not machine.forgetful
                line = Assignment(value, "/etc/sysctl.d/zz-hostaudit.conf", 1) if kept else None
                sysctl = Sysctl({KEY: Knob(value, writable=True, configured=line)})
                proxmox = Proxmox("8.2", name, mounted=True, options={OPTION: value} if kept else {})
                platform = Platform(name, "6.1", proxmox=proxmox)
                shot = Snapshot("0", 1.0, 0.0, privileged=True, platform=platform, sysctl=sysctl)
                found[name] = Collected(host, shot, 0.1)
            else:
                found[name] = Unreachable(host, "connect", "no route to host")
        return found

    def ask(self, names: Iterable[str], *question: str) -> dict[str, Reply]:
        return {name: self._one(name, self.machines[name], *question) for name in names}

    def _one(self, name: str, machine: Machine, verb: str, *rest: str) -> Reply:
        del rest
        self.on_ask(name, verb)
        if not machine.reachable:
            return Reply(name, failure="no route to host")
        code: int | None = 0
        if verb == "confirm":
            code = 0 if machine.guard is Guard.ARMED else 4
            if not code:
                machine.guard = Guard.KEPT
                machine.events.append("confirmed")
        elif verb == "revert":
            code = 0 if machine.guard is Guard.ARMED else 3
            if not code:
                machine.revert()
        elif verb == "undo":
            code = 0 if machine.guard is Guard.KEPT else 2
            if not code:
                machine.revert("undone")
        else:
            code = None
        return Reply(name, machine.guard, tuple(machine.events), code=code)


@contextmanager
def playing(monkeypatch: pytest.MonkeyPatch, machines: dict[str, Machine], failing: set[str]) -> Iterator[list[Any]]:
    """Let ``runner.play`` change machines; those in ``failing`` fail after they were changed. Gives the plays."""
    played: list[Any] = []
    current: dict[str, PlannedChange] = {}

    def play(book: str, hosts: Sequence[str], *_: object, **__: object) -> runner.Outcome:
        played.append((book, list(hosts)))
        for name in hosts:
            machine = machines[name]
            machine.before, machine.guard = machine.value, Guard.ARMED
            if not machine.deaf:
                machine.value = "5000"
            machine.events.append("applied")
        return runner.Outcome({name: "the task failed" for name in hosts if name in failing}, ())

    monkeypatch.setattr(runner, "play", play)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    yield played
    current.clear()


def hosts(names: Iterable[str], cohort: str = "web") -> dict[str, Host]:
    return {name: Host(name, (cohort,)) for name in names}


NAMES = ("a", "b", "c", "d")
START = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
QUICK = Ways(serial=("1", "1"), confirm_timeout=60, verify=1, watch=0)


class World:
    """A context of machines, a plan for them, and what is going to fail."""

    def __init__(self, journal: Journal, make: Callable[..., PlannedChange], role: str, ways: Ways = QUICK) -> None:
        self.machines = {name: Machine() for name in NAMES}
        self.failing: set[str] = set()
        self.said: list[str] = []
        self.now = START
        self.plays: list[Any] = []
        self.context = Fakes(
            hosts(NAMES), CollectOptions(), runner.Settings(()), journal, Actor("me", "here"), self.said.append,
            ways=ways, clock=lambda: self.now, agent=b"",
        )  # fmt: skip
        self.context.machines = self.machines
        self.context.on_ask = lambda _name, _verb: None
        self.plan = Plan("p", "", "", "", (), "", tuple(make(name, role) for name in NAMES), ())

    def values(self) -> str:
        return " ".join(machine.value for machine in self.machines.values())

    def kinds(self) -> list[str]:
        return [str(entry.kind) for entry in self.context.journal.entries()]
