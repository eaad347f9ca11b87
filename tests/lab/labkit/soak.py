"""Every fault at every point, in an order that a seed decides, on several lanes of hosts side by side."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from labkit import hosts
from labkit.hosts import Spec
from labkit.onhosts import FAULTS, LOGIN, REBOOT, USER
from labkit.rig import Rig
from labkit.settings import LabError
from labkit.strikes import AGAIN, ASLEEP, KILLS, LEFT, Strike, inject
from labkit.striking import Point, points
from labkit.tally import Tally
from labkit.wholeness import Judgement

COMMANDS = ("apply", "rollback")
RESUMING = tuple(
    f"{phase} {what} #1"
    for what in ("transaction", "step resume begin", "step state end", "change-end")
    for phase in ("before", "torn", "after")
)
"""Points that each controller passes that resumes, in order."""


def kills(rig: Rig) -> list[Strike]:
    """Return the exhaustive matrix: every point of both commands, the controller alone and all that it started."""
    return [
        Strike(kind, command, point) for command in COMMANDS for point in points(rig.marks[command]) for kind in KILLS
    ]


def step(name: str) -> str:
    """Return the step that a point belongs to: ``after step look begin #1`` is of ``look``, a task of ``task``."""
    phase, _, what = name.partition(" #")[0].partition(" ")
    return "task" if phase == "task" else what.removeprefix("step ").removesuffix(" begin").removesuffix(" end")


def sample(rig: Rig) -> list[Strike]:
    """Return few kills of the matrix, yet one in each step and each third task: before, in, and after it, in turn."""
    found = []
    for command in COMMANDS:
        steps: dict[str, list[Point]] = {}
        for point in points(rig.marks[command]):
            steps.setdefault(step(point.name), []).append(point)
        tasks = steps.pop("task")[1::15]
        chosen = [one[number % len(one)] for number, one in enumerate(steps.values())] + tasks
        found += [Strike(KILLS[n % 2], command, point) for n, point in enumerate(chosen)]
    return found


def repeated(rig: Rig, chance: random.Random) -> list[Strike]:
    """Return kills after which four controllers that resume are killed as well, at points of their own."""
    found = []
    for command in COMMANDS:
        for point in points(rig.marks[command]):
            others = sorted(chance.sample(range(len(RESUMING)), 4))
            found.append(Strike(AGAIN, command, point, tuple(Point(RESUMING[n]) for n in others)))
    return found


def slow(rig: Rig, kinds: Sequence[str]) -> list[Strike]:
    """Return the faults that wait for guards: at each point that is on the disk, or the end of a task."""
    found = []
    for command in COMMANDS:
        for _, name in rig.marks[command]:
            if name.startswith(("after", "task")):
                found += [Strike(kind, command, Point(name)) for kind in kinds]
    return found


@dataclass
class Lane:
    """Hosts that work through faults of some kinds."""

    name: str
    rig: Rig
    strikes: Callable[[Rig], list[Strike]]


@dataclass
class Soak:
    """One run over lanes of hosts."""

    seed: str
    seconds: float
    kept: Path
    """Where the tally is written after each fault."""
    say: Callable[[str], object] = print
    first: int = 1
    """Number of the fault to begin with, in each lane."""
    tally: Tally = field(default_factory=Tally)

    def run(self, lanes: Sequence[Lane]) -> Tally:
        """Inject until the time is over or every fault had its turn."""
        end = time.monotonic() + self.seconds
        with ThreadPoolExecutor(len(lanes)) as pool:
            for work in [pool.submit(self.work, lane, end) for lane in lanes]:
                work.result()
        return self.tally

    def work(self, lane: Lane, end: float) -> None:
        """Work through the faults of one lane. What fails in the lab itself counts as wrong, and does not end it."""
        lane.rig.prepare()
        strikes = lane.strikes(lane.rig)
        random.Random(f"{self.seed} {lane.name}").shuffle(strikes)  # noqa: S311 - to be repeated
        self.say(f"{lane.name}: {len(strikes)} faults")
        for number, strike in list(enumerate(strikes, 1))[self.first - 1 :]:
            if time.monotonic() > end:
                break
            began = time.monotonic()
            told = f"{lane.name} {number}/{len(strikes)}, seed {self.seed}: {strike}"
            try:
                found = inject(lane.rig, strike)
            except (LabError, AssertionError, OSError) as error:
                found = Judgement(journal=[f"the lab failed: {error}"])
            self.tally.add(strike.kind, told, found)
            self.tally.save(self.kept)
            self.say(f"{time.monotonic() - began:5.1f} s  {told}: {'not reached' if found is None else found.told()}")


HOSTS = {
    "s11": Spec("boot:bullseye", groups=("web",)),
    "s12": Spec("boot:bookworm", groups=("web",), disk="96m"),
    "s13": Spec("boot:trixie", groups=("web",)),
}


def lanes(directory: Path, seed: str, hosts_up: Sequence[str]) -> list[Lane]:
    """Return a lane for each host: kills are shared between two of them, what waits for guards is the third one's."""

    def share(number: int) -> Callable[[Rig], list[Strike]]:
        chance = random.Random(seed)  # noqa: S311 - to be repeated
        return lambda rig: [*kills(rig), *repeated(rig, chance), *slow(rig, [REBOOT])][number::2]

    waiting = (LEFT, ASLEEP, *(kind for kind in FAULTS if kind != REBOOT))

    found = []
    for name in hosts_up:
        if name == "s12":
            hosts.script(name, USER)
            rig = Rig([name], directory / name, {name: LOGIN})
            found.append(Lane(name, rig, lambda rig: slow(rig, waiting)))
        else:
            found.append(Lane(name, Rig([name], directory / name), share(int(name == "s13"))))
    return found
