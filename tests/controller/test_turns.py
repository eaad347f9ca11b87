from __future__ import annotations

from hostaudit.turns import MOST, Turns


def working(turns: Turns, hired: int) -> int:
    """Let every worker that was hired ask for a host; return how many got one."""
    return sum(turns.take() for _ in range(hired))


def test_as_many_hosts_as_forks_and_never_more_than_there_are() -> None:
    assert Turns(20, 1000).hire() == 20
    assert Turns(20, 7).hire() == 7
    assert Turns(0, 7).hire() == 1


def test_a_host_that_is_waited_for_gives_its_place_to_another() -> None:
    turns = Turns(4, 100)
    assert working(turns, turns.hire()) == 4
    turns.look(3, 1.0, 0.0)
    assert turns.hire() == 3
    turns.look(100, 2.0, 0.0)
    assert turns.hire() == 4 * MOST - 7


def test_the_place_is_taken_back_when_the_host_answers_after_all() -> None:
    turns = Turns(4, 100)
    turns.look(2, 1.0, 0.0)
    assert turns.hire() == 6
    turns.look(0, 2.0, 0.0)
    assert working(turns, 6) == 4
    assert turns.hire() == 0


def test_one_fork_is_strictly_one_after_the_other() -> None:
    turns = Turns(1, 100)
    assert working(turns, turns.hire()) == 1
    turns.look(1, 1.0, 0.0)
    assert turns.hire() == 0


def test_a_process_that_is_busy_itself_does_not_take_its_own_slowness_for_the_hosts() -> None:
    turns = Turns(4, 100)
    assert turns.hire() == 4
    turns.look(0, 1.0, 0.0)
    turns.look(4, 2.0, 0.95)
    assert turns.hire() == 0
    turns.look(4, 3.0, 1.0)
    assert turns.hire() == 4


def test_nobody_is_hired_when_no_host_is_left() -> None:
    turns = Turns(4, 5)
    assert working(turns, turns.hire()) == 4
    turns.look(4, 1.0, 0.0)
    assert turns.hire() == 1
    assert turns.take()
    assert turns.hire() == 0
    assert not turns.take()
