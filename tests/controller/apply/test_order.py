"""The order of the steps, and what happens when one fails: on hosts in memory, with a real journal."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fakes import NAMES, QUICK, START, World, playing

from hostaudit.apply.resume import Guard, State
from hostaudit.change import apply, back, before, resume
from hostaudit.change.context import Ways
from hostaudit.errors import FleetLockedError, JournalError
from hostaudit.halves import HALF
from hostaudit.journal import Actor, Journal
from hostaudit.model import Declined, Plan
from hostaudit.windows import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit.model import PlannedChange


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(f"sqlite:///{tmp_path}/journal.db") as opened:
        yield opened


@pytest.fixture
def world(
    journal: Journal, planned: Callable[..., PlannedChange], monkeypatch: pytest.MonkeyPatch, request: Any
) -> Iterator[World]:
    made = World(journal, planned, getattr(request, "param", "tcp_backlog"))
    monkeypatch.setattr("hostaudit.apply.readback.moves", _moves)
    with playing(monkeypatch, made.machines, made.failing) as plays:
        made.plays = plays
        yield made


def _moves(role: str, variables: object, snapshot: Any) -> Any:
    """Every role of these tests moves the same number, under the name that makes it whole or nothing where it is."""
    from hostaudit.knobs import ALLOW_INVALID, moves

    found = moves("tcp_backlog", variables, snapshot)  # type: ignore[arg-type] # the plan's own
    return found if role != "pve_firewall" else replace(found, knobs=(replace(found.knobs[0], knob=ALLOW_INVALID),))


firewall = pytest.mark.parametrize("world", ["pve_firewall"], indirect=True)


def test_all_goes_well(world: World) -> None:
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 0
    assert world.values() == "5000 5000 5000 5000"
    assert [names for _, names in world.plays] == [["a"], ["b"], ["c"], ["d"]]
    assert {m.guard for m in world.machines.values()} == {Guard.KEPT}
    assert world.context.journal.holder("default") is None


def test_every_step_is_written_before_it_begins(world: World) -> None:
    seen: list[tuple[str, str]] = []

    def on_ask(_name: str, verb: str) -> None:
        last = list(world.context.journal.entries())[-1].payload
        seen.append((verb, str(last["step"])))

    world.context.on_ask = on_ask
    apply.apply(world.context, world.plan)
    assert ("confirm", "confirm") in seen
    assert {step for verb, step in seen if verb == "confirm"} <= {"confirm", "state"}


def test_the_first_bad_batch_goes_back_and_stops_the_run(world: World) -> None:
    world.failing.add("b")
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 8
    assert world.values() == "5000 4096 4096 4096"
    states = {name: host.state for name, host in outcome.changes[0].hosts.items()}
    assert states == {"a": State.CONFIRMED, "b": State.REVERTED, "c": State.UNTOUCHED, "d": State.UNTOUCHED}
    assert [names for _, names in world.plays] == [["a"], ["b"]]


def test_a_role_that_says_changed_and_changed_nothing_is_bad(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostaudit.change.turn.PATIENCE", 0)
    world.machines["a"].deaf = True
    outcome = apply.apply(world.context, world.plan)
    assert "net.core.somaxconn is 4096, not 5000" in outcome.changes[0].hosts["a"].detail
    assert world.values() == "4096 4096 4096 4096"


@firewall
def test_half_of_a_firewall_fix_is_taken_back(world: World) -> None:
    world.failing.add("c")
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 8
    assert world.values() == "4096 4096 4096 4096"
    assert {host.state for host in outcome.changes[0].hosts.values()} == {State.REVERTED, State.UNTOUCHED}


@firewall
def test_all_hosts_of_a_firewall_fix_are_changed_at_once_and_go_back_at_once(world: World) -> None:
    world.context.ways = replace(QUICK, serial=())
    world.failing.add("c")
    asked: list[tuple[str, str]] = []
    world.context.on_ask = lambda name, verb: asked.append((name, verb))
    outcome = apply.apply(world.context, world.plan)
    assert [names for _, names in world.plays] == [["a", "b", "c", "d"]]
    assert [name for name, verb in asked if verb == "revert"] == ["a", "b", "c", "d"], "none is left to its timer"
    assert {host.state for host in outcome.changes[0].hosts.values()} == {State.REVERTED}
    assert outcome.changes[0].reason.startswith("c: the task failed; a, b, d: put back with its batch, because of c")


def test_a_host_of_a_batch_that_was_confirmed_goes_back_with_the_one_that_was_not(world: World) -> None:
    world.context.ways = replace(QUICK, serial=("1", "100%"))

    def on_ask(name: str, verb: str) -> None:
        if (name, verb) == ("c", "confirm"):
            world.machines["c"].revert()  # its timer was faster

    world.context.on_ask = on_ask
    outcome = apply.apply(world.context, world.plan)
    assert world.values() == "5000 4096 4096 4096"
    states = {name: host.state for name, host in outcome.changes[0].hosts.items()}
    assert states == {"a": State.CONFIRMED, **dict.fromkeys("bcd", State.REVERTED)}


@firewall
def test_as_before_is_said_when_it_was_seen(world: World) -> None:
    """The daemon that makes the rules follows host.fw some seconds later."""
    for machine in world.machines.values():
        machine.lag = 3
    world.failing.add("b")
    apply.apply(world.context, world.plan)
    told = [line for line in world.said if line.startswith(("waiting", "a:", "b:"))]
    waits = [n for n, line in enumerate(told) if line.startswith("waiting until a is as before: host.fw")]
    assert len(waits) == 1, "it is said once, not at every look"
    assert told[waits[0] + 1] == "a: as before: put back, because the change did not succeed on all hosts"


@firewall
def test_what_does_not_become_as_before_is_said_and_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1_000_000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    world.machines["a"].lag = 10_000
    world.failing.add("b")
    outcome = apply.apply(world.context, world.plan)
    host = outcome.changes[0].hosts["a"]
    assert host.state is State.SETTLING
    assert "; not yet as before: host.fw nf_conntrack_allow_invalid was 4096 and is 5000" in host.detail
    ended = list(world.context.journal.entries())[-1]
    assert ended.payload["hosts"]["a"] == {"state": "put back", "detail": host.detail, "checks": {}}
    assert outcome.exit_code == 8


def test_a_value_that_no_file_sets_for_the_next_boot_is_bad(world: World) -> None:
    world.machines["a"].forgetful = True
    outcome = apply.apply(world.context, world.plan)
    assert outcome.changes[0].hosts["a"].detail == (
        "net.core.somaxconn will not be 5000 after a reboot: no file sets it"
    )
    assert world.values() == "4096 4096 4096 4096"


@firewall
def test_a_half_of_a_fix_is_warned_of_and_kept(world: World) -> None:
    world.context.hosts = {name: host for name, host in world.context.hosts.items() if name != "d"}
    world.context.limited = True
    world.plan = replace(world.plan, declined=(Declined("e", "conntrack-invalid-drop", f"{HALF}it is down", ""),))
    apply.apply(world.context, world.plan)
    warned = [line for line in world.said if line.startswith("WARNING: ")]
    assert [line.split(":")[1] for line in warned] == [" e", " d"]
    begun = next(iter(world.context.journal.entries()))
    assert len(begun.payload["halves"]) == 2


@firewall
def test_a_window_that_closes_in_between_takes_half_of_a_firewall_fix_back(world: World) -> None:
    _close_after_the_canary(world)
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 75
    assert world.values() == "4096 4096 4096 4096"


def test_a_window_that_closes_in_between_ends_the_run_before_the_next_batch(world: World) -> None:
    _close_after_the_canary(world)
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 75
    assert world.values() == "5000 4096 4096 4096"
    assert "needs" in outcome.changes[0].reason


def test_the_next_window_finishes_what_the_last_one_left(world: World) -> None:
    _close_after_the_canary(world)
    outcome = apply.apply(world.context, world.plan)
    assert outcome.changes[0].left == ["b", "c", "d"]
    assert outcome.changes[0].hosts["b"].detail == "the window closed before its turn"
    with pytest.raises(before.WindowError):
        resume.resume(world.context)
    assert world.values() == "5000 4096 4096 4096"

    world.context.on_ask = lambda _n, _verb: None
    world.now = START + timedelta(days=1)
    done = resume.resume(world.context)
    assert done.exit_code == 0
    assert world.values() == "5000 5000 5000 5000"
    assert [names for _, names in world.plays] == [["a"], ["b"], ["c"], ["d"]]
    begun = [e.payload for e in world.context.journal.entries() if e.kind == "change-begin"]
    assert begun[1]["continues"] == outcome.changes[0].id
    assert resume.resume(world.context).changes == [], "and it is finished once"


def test_what_the_last_window_left_is_void_once_its_hosts_were_changed_otherwise(world: World) -> None:
    _close_after_the_canary(world)
    apply.apply(world.context, world.plan)
    world.context.on_ask = lambda _n, _verb: None
    world.now = START + timedelta(days=1)
    apply.apply(world.context, replace(world.plan, changes=world.plan.changes[1:2]))
    assert resume.resume(world.context).changes == []
    assert world.values() == "5000 5000 4096 4096"


def _close_after_the_canary(world: World) -> None:
    entry = {"allow": "0 22 * * *", "duration": "5m", "timezone": "UTC"}
    world.context.windows = dict.fromkeys(NAMES, parse([entry]))
    world.context.on_ask = lambda _n, verb: _later(world) if verb == "confirm" else None


def _later(world: World) -> None:
    world.now = START + timedelta(minutes=4, seconds=30)


def test_a_batch_that_does_not_fit_with_its_undo_is_refused_untouched(world: World) -> None:
    _close_after_the_canary(world)
    _later(world)
    with pytest.raises(before.WindowError):
        apply.apply(world.context, world.plan)
    assert world.plays == []
    assert world.kinds() == []


def test_an_override_of_the_window_is_written_down(
    journal: Journal, planned: Callable[..., PlannedChange], world: World
) -> None:
    del journal, planned
    _close_after_the_canary(world)
    _later(world)
    world.context.ways = Ways(**{**_fields(QUICK), "outside_window": True, "reason": "now"})
    assert apply.apply(world.context, world.plan).exit_code == 0
    assert world.kinds()[0] == "window-override"


def _fields(ways: Ways) -> dict[str, Any]:
    return {name: getattr(ways, name) for name in Ways.__slots__}


def test_a_broken_lock_stops_the_change_before_it_confirms(world: World) -> None:
    def on_ask(name: str, verb: str) -> None:
        if (name, verb) == ("b", "gateways") and world.context.journal.holder("default"):
            world.context.journal.break_lock("default", Actor("you", "there"), START, "I know better")

    world.context.on_ask = on_ask
    outcome = apply.apply(world.context, world.plan)
    assert "was broken" in outcome.changes[0].reason
    assert world.values() == "5000 4096 4096 4096"
    assert "lock-broken" in world.kinds()


def test_a_held_fleet_is_refused_untouched(world: World) -> None:
    with world.context.journal.lock("default", Actor("you", "there"), START), pytest.raises(FleetLockedError):
        apply.apply(world.context, world.plan)
    assert world.plays == []


def test_ctrl_c_puts_the_batch_back(world: World) -> None:
    def on_ask(_name: str, verb: str) -> None:
        if verb == "confirm":
            raise KeyboardInterrupt

    world.context.on_ask = on_ask
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 99
    assert world.values() == "4096 4096 4096 4096"
    assert world.kinds()[-1] == "change-end"


def test_a_journal_that_cannot_be_written_puts_the_batch_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    append = world.context.journal.append

    def full(entry: Any) -> Any:
        if entry.payload.get("step") == "verify":
            raise JournalError("the disk is full")
        return append(entry)

    monkeypatch.setattr(world.context.journal, "append", full)
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 8
    assert world.values() == "4096 4096 4096 4096"
    assert "disk is full" in outcome.changes[0].reason


def test_a_host_that_is_gone_after_the_change_is_left_to_its_guard_and_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostaudit.change.turn.PATIENCE", 0)
    monkeypatch.setattr(back, "SLACK", 0)
    world.context.ways = Ways(**{**_fields(QUICK), "confirm_timeout": 32})
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))

    def on_ask(name: str, verb: str) -> None:
        if (name, verb) == ("a", "gateways"):
            world.machines["a"].reachable = False

    world.context.on_ask = on_ask
    outcome = apply.apply(world.context, world.plan)
    assert outcome.exit_code == 12
    assert outcome.changes[0].hosts["a"].state is State.UNKNOWN
    assert "change-end" not in world.kinds(), "it is unfinished"

    world.machines["a"].reachable = True
    world.context.on_ask = lambda _name, _verb: None
    again = resume.resume(world.context)
    assert again.changes[0].hosts["a"].state is State.REVERTED
    assert world.values() == "4096 4096 4096 4096"
    assert world.kinds()[-1] == "change-end"
    assert resume.resume(world.context).changes == []


def test_a_later_stage_is_not_begun_after_a_failure(world: World, planned: Callable[..., PlannedChange]) -> None:
    world.failing.add("a")
    changes = (*world.plan.changes, planned("a", "sysctl"))
    outcome = apply.apply(world.context, Plan("p", "", "", "", (), "", changes, ()))
    assert [change.outcome for change in outcome.changes] == ["failed", "failed"]
    assert "not begun" in outcome.changes[1].reason
    assert len(world.plays) == 1
