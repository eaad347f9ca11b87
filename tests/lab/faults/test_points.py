"""Controllers are killed in each step, and hosts fail under them: each host ends whole, and the journal says how.

A few of the faults that ``make soak`` injects, see docs/faults.md. They share three hosts, side by side: most of the
time is spent waiting for guards.
"""

from collections.abc import Iterator

import pytest
from labkit import hosts, soak
from labkit.onhosts import REBOOT
from labkit.rig import Rig
from labkit.strikes import KILLS, Strike
from labkit.striking import Point
from labkit.tally import Tally

pytestmark = pytest.mark.long

LONG = 3600.0
"""Seconds: no limit, the lists are short."""


CHANGED = Point("after step run end #1")


def rebooted(rig: Rig) -> list[Strike]:
    """Return kills, and a reboot between the change and its confirmation."""
    return [Strike(REBOOT, "apply", CHANGED), *soak.sample(rig)[1::2]]


def failing(rig: Rig) -> list[Strike]:
    """Return failures of the host, each at a moment when something is half done there."""
    names = [name for _, name in rig.marks["apply"]]
    written = next(name for name in names if name.endswith("Write the running values #1"))
    return [
        Strike("new connections blocked, a multiplexed one lives", "apply", CHANGED),
        Strike("disk full", "apply", Point(written)),
    ]


@pytest.fixture(scope="module")
def rigs_and_tally(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Rig], Tally]]:
    directory = tmp_path_factory.mktemp("faults")
    with hosts.up(soak.HOSTS) as names:
        lanes = soak.lanes(directory, "1", names)
        mine = {"s11": lambda rig: soak.sample(rig)[0::2], "s13": rebooted, "s12": failing}
        for lane in lanes:
            lane.strikes = mine[lane.name]
        tally = soak.Soak("1", LONG, directory / "tally.json").run(lanes)
        yield [lane.rig for lane in lanes], tally


def test_no_host_is_half_changed_and_the_journal_says_which(rigs_and_tally: tuple[list[Rig], Tally]) -> None:
    _, tally = rigs_and_tally
    assert tally.wrong == []


def test_every_fault_was_injected(rigs_and_tally: tuple[list[Rig], Tally]) -> None:
    rigs, tally = rigs_and_tally
    assert tally.missed == 0, "each controller came as far as a run without faults does"
    kills = sum(tally.counts[kind]["injected"] for kind in KILLS)
    steps = {(command, soak.step(name)) for command, marks in rigs[0].marks.items() for _, name in marks}
    assert kills >= len(steps), "each step of apply, and each of rollback"
    assert tally.injected - kills == len(failing(rigs[0])) + 1, "and the hosts' own faults"


def test_both_ends_are_reached(rigs_and_tally: tuple[list[Rig], Tally]) -> None:
    """Were every fault to end in the same state, the judge would prove little."""
    _, tally = rigs_and_tally
    for kind in KILLS:
        assert tally.counts[kind]["wholly changed"], kind
        assert tally.counts[kind]["wholly as before"], kind
