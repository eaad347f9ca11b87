"""A confirmed change can be undone until an undo of it is confirmed, whatever becomes of undos before that."""

from collections.abc import Iterator

import pytest
from labkit import hosts

from roles.guarding import (
    VALUE,
    arm,
    confirmed,
    done,
    events,
    furnish,
    guard,
    left,
    look,
    settle,
    struck,
    until,
    until_quiet,
)
from roles.play import NAMES

DELAYS = [0.1, *(pytest.param(d, marks=pytest.mark.soak) for d in (0.02, 0.2, 0.5, 0.8)), 0.35]


@pytest.fixture(scope="module", params=["b13", *(pytest.param(n, marks=pytest.mark.long) for n in ("b11", "b12"))])
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """Boot one host after the other."""
    host = str(request.param)
    with hosts.up({host: hosts.Spec(f"boot:{NAMES[host]}")}) as names:
        furnish(names)
        yield host


def undo(name: str, *, then: str) -> None:
    """Undo change c under a guard, and end that guard."""
    arm(name, "c-undo")
    done(name, "undo", "c")
    done(name, then, "c-undo", *(["20"] if then == "confirm" else []))


def kept(name: str) -> list[str]:
    return hosts.script(name, "ls /var/lib/hostaudit/changes 2>/dev/null || :").split()


def test_an_undo_that_was_taken_back_can_be_done_again(name: str) -> None:
    before, after = confirmed(name)
    undo(name, then="revert")
    assert look(name) == after
    arm(name, "c-undo")
    done(name, "undo", "c")
    assert look(name) == before
    done(name, "extend", "c-undo", 2)
    until(name, after)  # the host alone
    assert guard(name, "confirm", "c-undo", 20)[0] == 4
    assert kept(name) == ["c"]
    undo(name, then="confirm")
    assert look(name) == before
    assert kept(name) == ["c-undo"]
    assert [e for e in events(name) if e[0] == "undone"] == [("undone", "c")], "said once, when it was for good"
    undone = guard(name, "undo", "c")
    assert (undone[0], "no change c is kept" in undone[1]) == (2, True)
    assert left(name) == []


def test_a_reboot_in_an_undo(name: str) -> None:
    before, after = confirmed(name)
    arm(name, "c-undo")
    done(name, "undo", "c")
    assert look(name) == before
    was = hosts.run(name, "cat", "/proc/sys/kernel/random/boot_id")
    hosts.script(name, "sync; systemctl reboot --force --force &")

    def again() -> bool:
        try:
            return hosts.run(name, "cat", "/proc/sys/kernel/random/boot_id") != was
        except Exception:  # noqa: BLE001 - between two boots anything may fail
            return False

    hosts.wait(again, 60, f"{name} does not come back")
    hosts.ready(name)
    until(name, after)
    until_quiet(name, "c-undo", 10)
    code, said = guard(name, "undo", "c")
    assert (code, "was itself put back" in said) == (4, True), "a controller that goes on is not guarded any more"
    assert look(name) == after
    undo(name, then="confirm")
    assert look(name) == before
    settle(name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["b13"], indirect=True, scope="module")  # it takes more than a minute
def test_the_watch_ends(name: str) -> None:
    """Somebody writes in its last seconds: it stays until it has been quiet for long enough."""
    before, _ = confirmed(name, "a")
    arm(name, "b", 2)
    hosts.script(name, f"echo 7000 >{VALUE}")
    hosts.wait(lambda: ("reverted", "b") in events(name), 30, "it does not go back")
    until_quiet(name, "b")
    hosts.script(name, f"echo 7000 >{VALUE}")
    hosts.wait(lambda: ("reverted-again", "b") in events(name), 30, "what was written late stays")
    code, said = guard(name, "arm", "d", 60, "file /etc/hosts")
    assert (code, "may still be writing" in said) == (2, True)
    units = "systemctl list-units --all --plain --no-legend 'hostaudit-guard*' | grep -v not-found || :"
    hosts.wait(lambda: hosts.script(name, units) == "", 60, "it is still watched")
    assert "hostaudit-guard" not in hosts.script(name, "find /etc/systemd/system")
    assert guard(name, "confirm", "b", 20)[0] == 4
    assert left(name) == []
    done(name, "undo", "a")
    assert look(name) == before


@pytest.mark.parametrize("delay", DELAYS)
def test_an_undo_that_is_killed(name: str, delay: float) -> None:
    before, after = confirmed(name)
    arm(name, "c-undo")
    struck(name, delay, "undo", "c")
    done(name, "revert", "c-undo")
    assert look(name) == after
    struck(name, delay, "undo", "c")  # without a guard, as half of a fleet is put back
    if kept(name) == ["c"]:
        done(name, "undo", "c")
    assert look(name) == before
    assert left(name) == []


@pytest.mark.parametrize("delay", DELAYS)
def test_a_confirmation_that_is_killed(name: str, delay: float) -> None:
    before, _ = confirmed(name)
    arm(name, "c-undo")
    done(name, "undo", "c")
    struck(name, delay, "confirm", "c-undo", "20")
    done(name, "confirm", "c-undo", "20")
    assert look(name) == before
    assert kept(name) == ["c-undo"]
    assert left(name) == []
    done(name, "undo", "c-undo")
    assert look(name) != before, "an undo can be undone too"


@pytest.mark.parametrize("delay", DELAYS)
def test_an_arming_that_is_killed(name: str, delay: float) -> None:
    """It is armed, or it is nothing; and the next one says so, or is armed."""
    settle(name)
    before = look(name)
    struck(name, delay, "arm", "c", "600", "'file /etc/hosts'")
    if hosts.script(name, "ls /var/lib/hostaudit/guard/c/guard 2>/dev/null || :"):
        code, said = guard(name, "arm", "d", 600, "file /etc/hosts")
        assert (code, "another change, c, is armed on this host" in said) == (2, True)
        done(name, "revert", "c")
    arm(name, "d")
    done(name, "revert", "d")
    assert left(name) == []
    assert look(name) == before
