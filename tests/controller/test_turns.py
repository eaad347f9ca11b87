from __future__ import annotations

from hostaudit.turns import FULL_PATIENCE, MOST, PATIENCE, Turns, idle


def working(turns: Turns, hired: int) -> int:
    """Let every worker that was hired ask for a host; return how many got one."""
    return sum(turns.take() for _ in range(hired))


def look(turns: Turns, waiting: int, now: float, spent: float = 0.0, spare: float | None = None) -> None:
    """Have as many hosts wait a little too long; all processors are idle unless it is told."""
    turns.look([now - PATIENCE - 0.1] * waiting + [now], now, spent, now if spare is None else spare)


def test_as_many_hosts_as_forks_and_never_more_than_there_are() -> None:
    assert Turns(20, 1000).hire() == 20
    assert Turns(20, 7).hire() == 7
    assert Turns(0, 7).hire() == 1


def test_a_host_that_is_waited_for_gives_its_place_to_another() -> None:
    turns = Turns(4, 100)
    assert working(turns, turns.hire()) == 4
    look(turns, 3, 1.0)
    assert turns.hire() == 3
    look(turns, 100, 2.0)
    assert turns.hire() == 4 * MOST - 7


def test_the_place_is_taken_back_when_the_host_answers_after_all() -> None:
    turns = Turns(4, 100)
    look(turns, 2, 1.0)
    assert turns.hire() == 6
    look(turns, 0, 2.0)
    assert working(turns, 6) == 4
    assert turns.hire() == 0


def test_one_fork_is_strictly_one_after_the_other() -> None:
    turns = Turns(1, 100)
    assert working(turns, turns.hire()) == 1
    look(turns, 1, 1.0)
    assert turns.hire() == 0


def test_a_process_that_is_busy_itself_does_not_take_its_own_slowness_for_the_hosts() -> None:
    turns = Turns(4, 100)
    assert turns.hire() == 4
    look(turns, 0, 1.0)
    look(turns, 4, 2.0, 0.95)
    assert turns.hire() == 0
    look(turns, 4, 3.0, 1.0)
    assert turns.hire() == 4


def test_nobody_is_hired_when_no_host_is_left() -> None:
    turns = Turns(4, 5)
    assert working(turns, turns.hire()) == 4
    look(turns, 4, 1.0)
    assert turns.hire() == 1
    assert turns.take()
    assert turns.hire() == 0
    assert not turns.take()


def test_a_machine_without_a_processor_to_spare_is_slow_itself_and_waits_longer_before_it_begins_more() -> None:
    turns = Turns(4, 100)
    assert turns.hire() == 4
    look(turns, 0, 10.0, spare=100.0)
    look(turns, 4, 11.0, spare=100.05)
    assert turns.hire() == 0
    turns.look([12.0 - FULL_PATIENCE - 0.1] * 2 + [11.0] * 2, 12.0, 0.0, 100.1)
    assert turns.hire() == 2, "those that hang give their places to others all the same"
    look(turns, 4, 13.0, spare=100.3)
    assert turns.hire() == 2


def test_it_is_looked_at_only_now_and_then() -> None:
    turns = Turns(4, 100)
    assert turns.due(1.0)
    look(turns, 0, 1.0)
    assert not turns.due(1.0 + PATIENCE / 2)
    assert turns.due(1.1 + PATIENCE)


def test_idle_processors_are_counted_in_seconds() -> None:
    first = idle()
    assert first > 0
    assert 0 <= idle() - first < 5
