from __future__ import annotations

from typing import Any

import pytest

from hostaudit.apply.resume import Action, Guard, Progress, State, decide, progress_of

NOT_BEGUN, BEGUN, GOOD = Progress(), Progress(begun=True), Progress(begun=True, verified=True)


@pytest.mark.parametrize(
    ("progress", "guard", "events", "action", "state"),
    [
        # the controller died before it touched the host
        (NOT_BEGUN, Guard.NONE, [], Action.NOTHING, State.UNTOUCHED),
        # while it armed the guard, or before the guard was armed
        (BEGUN, Guard.NONE, [], Action.NOTHING, State.REVERTED),
        # armed, and not yet found good: whatever the role did goes back
        (BEGUN, Guard.ARMED, [], Action.REVERT, State.REVERTED),
        (BEGUN, Guard.ARMED, ["applied"], Action.REVERT, State.REVERTED),
        (NOT_BEGUN, Guard.ARMED, [], Action.REVERT, State.REVERTED),
        # found good, and not confirmed
        (GOOD, Guard.ARMED, ["applied"], Action.CONFIRM, State.CONFIRMED),
        # found good, but the host was faster
        (GOOD, Guard.REVERTED, ["applied", "reverted"], Action.ACKNOWLEDGE, State.REVERTED),
        (BEGUN, Guard.REVERTED, ["applied", "reverted"], Action.ACKNOWLEDGE, State.REVERTED),
        # the guard was confirmed, whether or not the controller could write that down
        (GOOD, Guard.KEPT, ["applied", "confirmed"], Action.NOTHING, State.CONFIRMED),
        # confirmed long ago and no longer kept
        (GOOD, Guard.NONE, ["applied", "confirmed"], Action.NOTHING, State.CONFIRMED),
        # put back when it was asked to, or undone afterwards
        (GOOD, Guard.NONE, ["applied", "reverted"], Action.NOTHING, State.REVERTED),
        (GOOD, Guard.NONE, ["applied", "confirmed", "undone"], Action.NOTHING, State.REVERTED),
    ],
)
def test_what_becomes_of_a_host(
    progress: Progress, guard: Guard, events: list[str], action: Action, state: State
) -> None:
    decision = decide(progress, guard, events)
    assert (decision.action, decision.state) == (action, state)


def step(name: str, phase: str, *hosts: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "", {"step": name, "phase": phase, "hosts": list(hosts), **more}


RUN = step("run", "begin", "a", "b")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], {}),
        ([step("look", "begin", "a")], {"a": Progress()}),
        ([RUN], {"a": Progress(begun=True), "b": Progress(begun=True)}),
        ([RUN, step("verify", "end", "a", "b", ok=True)], {"a": GOOD, "b": GOOD}),
        ([RUN, step("verify", "end", "a", "b", ok=False)], {"a": BEGUN, "b": BEGUN}),
        # found good, and then to be put back all the same: a guard that is still armed is not to be confirmed
        ([RUN, step("verify", "end", "a", "b", ok=True), step("revert", "begin", "a")], {"a": BEGUN, "b": GOOD}),
        (
            [RUN, ("a", {"step": "state", "phase": "end", "state": "confirmed"})],
            {"a": Progress(begun=True, ended="confirmed"), "b": BEGUN},
        ),
    ],
)
def test_how_far_a_change_came(steps: list[tuple[str, dict[str, Any]]], expected: dict[str, Progress]) -> None:
    assert progress_of(steps) == expected
