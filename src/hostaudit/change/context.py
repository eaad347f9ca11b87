"""What every step of a change needs: hosts and how they are reached, the journal, the windows, the clock."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hostaudit.apply import guard, readback, runner
from hostaudit.bundle import build
from hostaudit.collect import CollectOptions, collect
from hostaudit.errors import JournalError
from hostaudit.journal import Entry, Kind
from hostaudit.model import Collected
from hostaudit.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hostaudit.journal import Actor, FleetLock, Journal
    from hostaudit.model import Host, PlannedChange, Unreachable
    from hostaudit.windows import Windows


@dataclass(frozen=True, slots=True)
class Ways:
    """How a change is made. Times in seconds."""

    serial: tuple[str, ...] = ()
    """Sizes of the batches, as ``batches.parse_serial`` gives them; empty: as it fits the change."""
    confirm_timeout: int = 180
    """After which a host that was not confirmed goes back by itself."""
    verify: float = 5.0
    """Between the two samples of the readings before and after."""
    watch: float | None = None
    """How long to watch for somebody who takes the values back; None: two periods of their owner."""
    keep_active: bool = False
    outside_window: bool = False
    reason: str = ""
    ticket: str = ""
    fleet: str = "default"


@dataclass(slots=True)
class Context:
    """One command's surroundings."""

    hosts: dict[str, Host]
    """Of the inventory, by name."""
    options: CollectOptions
    settings: runner.Settings
    journal: Journal
    actor: Actor
    say: Callable[[str], object]
    """Progress, a sentence each."""
    policy: Policy = field(default_factory=Policy)
    windows: Mapping[str, Windows] = field(default_factory=dict)
    ways: Ways = field(default_factory=Ways)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    lock: FleetLock | None = None
    agent: bytes = field(default_factory=build)
    limited: bool = False
    """``hosts`` are those that --limit chose: hosts of a plan may be missing."""
    _mending: int = 0

    def record(self, kind: Kind, change: str, host: str = "", **payload: Any) -> None:
        """Write an entry; when this returns it is on the disk. Raises JournalError."""
        ways = self.ways
        entry = Entry(
            kind, self.clock(), self.actor, change=change, host=host, reason=ways.reason, ticket=ways.ticket,
            payload=payload,
        )  # fmt: skip
        try:
            self.journal.append(entry)
        except JournalError as error:
            if not self._mending:
                raise
            self.say(f"not in the journal: {payload.get('step', kind)}: {error}")

    @contextmanager
    def mending(self) -> Iterator[None]:
        """Hosts are being put back: a journal that cannot be written is said, and is no reason to stop."""
        self._mending += 1
        try:
            yield
        finally:
            self._mending -= 1

    def step(self, change: str, step: str, phase: str, hosts: Iterable[str], **payload: Any) -> None:
        """Write down that a step of a batch begins or has ended."""
        self.record(Kind.STEP, change, step=step, phase=phase, hosts=list(hosts), **payload)

    def read(self, names: Iterable[str], interval: float) -> dict[str, Collected | Unreachable]:
        """Read hosts, each over a new connection."""
        hosts = [self.hosts[name] for name in names]
        seconds = self.options.seconds - self.options.interval + interval
        options = replace(self.options, interval=interval, run_timeout=seconds)
        return {answer.host.name: answer for answer in collect(hosts, self.agent, options)}

    def ask(self, names: Iterable[str], *question: str) -> dict[str, guard.Reply]:
        """Ask hosts about a guard, each over a new connection."""
        options = self.options
        access = guard.Access(options.flags, options.configured, options.forks, options.connect_timeout)
        return guard.ask([self.hosts[name] for name in names], access, *question)

    def boot(self, changes: Sequence[PlannedChange]) -> dict[str, readback.Boot]:
        """Ask hosts what they will set at the next boot, as far as the snapshot does not say it."""
        question = readback.questions(changes)
        names = dict.fromkeys(change.host for change in changes)
        if not question:
            return {name: readback.Boot() for name in names}
        replies = self.ask(names, "boot", question)
        return {name: readback.boot(reply.seen, reply.failure) for name, reply in replies.items()}

    def window(self, names: Iterable[str]) -> list[Windows]:
        """Return the windows of these hosts."""
        return [self.windows[name] for name in names if name in self.windows]


def collected(answers: Mapping[str, Collected | Unreachable]) -> list[Collected]:
    """Return those that answered, without what they remember: a change is judged by what moves before and after it."""
    good = [answer for answer in answers.values() if isinstance(answer, Collected)]
    return [replace(one, snapshot=replace(one.snapshot, ring=None)) for one in good]
