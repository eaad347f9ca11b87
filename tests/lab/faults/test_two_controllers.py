"""Two controllers, each with a journal of its own, change the same host at the same time: one of them does, whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from labkit import hosts
from labkit.hosts import Spec
from labkit.rig import Rig
from labkit.striking import Controller, Point
from labkit.wholeness import BEFORE, CHANGED

pytestmark = pytest.mark.long

ARMING = "after step run begin #1"
WRITTEN = "after step run end #1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Rig]]:
    directory = tmp_path_factory.mktemp("two")
    with hosts.up({"two": Spec("boot:bookworm", groups=("web",))}) as names:
        rigs = Rig(names, directory / "one"), Rig(names, directory / "other")
        for rig in rigs:
            rig.prepare()
        yield rigs


def ended(controller: Controller) -> tuple[int, str]:
    return controller.end(), controller.stderr()


@pytest.mark.parametrize("point", [ARMING, WRITTEN])
def test_one_changes_and_the_other_leaves_everything_alone(pair: tuple[Rig, Rig], point: str) -> None:
    """Both stand at the point ARMING at once; or the first has changed and not confirmed when the second begins."""
    first, second = pair
    for rig in pair:
        rig.set(BEFORE)
    began = [rig.since for rig in pair]
    one = first.start("apply", Point(point))
    assert one.until_stopped(), one.stderr()
    other = second.start("apply", Point(ARMING))
    assert other.until_stopped() == (point == ARMING), "after the other has written, the plan is stale"
    controllers = [one, other]
    for controller in controllers:
        controller.go_on()
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(ended, controllers))
    assert sorted(code for code, _ in codes) == ([0, 8] if point == ARMING else [0, 16]), codes
    winner, loser = (0, 1) if codes[0][0] == 0 else (1, 0)
    judged = pair[winner].judge(BEFORE, began[winner])
    assert judged.hosts == {"two": CHANGED}
    assert not str(judged)
    lost = pair[loser].judge(CHANGED, began[loser])
    assert not lost.half
    assert all("the journal says wholly as before" in line for line in lost.journal), lost.journal
    assert pair[loser].resume()[0] == 0, "the loser has nothing to finish"
