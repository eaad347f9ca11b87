from __future__ import annotations

import pytest

from hostaudit.apply.judge import Closed, verdict
from hostaudit.model import Finding, Grade, Status

CHECK, OTHER = "listen-queue-overflow", "conntrack-table-full"
ACTIVE = (Status.FAIL, Grade.ACTIVE)
RISK = (Status.FAIL, Grade.RISK)
PASS = (Status.PASS, None)
UNKNOWN = (Status.UNKNOWN, None)


def finding(host: str, how: tuple[Status, Grade | None], check: str = CHECK) -> Finding:
    return Finding(how[0], "it moves", how[1], check=check, host=host)


@pytest.mark.parametrize(
    ("before", "after", "closed"),
    [
        (ACTIVE, PASS, Closed.CLOSED),
        (RISK, PASS, Closed.CLOSED),
        (PASS, PASS, Closed.UNPROVED),
        (UNKNOWN, PASS, Closed.UNPROVED),
        (ACTIVE, RISK, Closed.RISK),
        (ACTIVE, ACTIVE, Closed.ACTIVE),
        (RISK, ACTIVE, Closed.ACTIVE),
        (ACTIVE, UNKNOWN, Closed.UNKNOWN),
    ],
)
def test_a_finding_closes_on_evidence_never_on_silence(
    before: tuple[Status, Grade | None], after: tuple[Status, Grade | None], closed: Closed
) -> None:
    found = verdict("a", [CHECK], [finding("a", before)], [finding("a", after)], [])
    assert found.checks == {CHECK: closed}


def test_a_finding_that_is_still_active_is_bad_unless_it_was_said_to_keep_it() -> None:
    found = verdict("a", [CHECK], [finding("a", ACTIVE)], [finding("a", ACTIVE)], [])
    assert found.bad(keep_active=False) == [f"{CHECK} is still active"]
    assert found.bad(keep_active=True) == []


def test_a_check_that_says_unknown_after_the_change_is_bad_and_says_why() -> None:
    why = "firewall was not read: the agent ran out of time"
    lost = Finding(Status.UNKNOWN, why, check=CHECK, host="a")
    after = [lost, lost, finding("b", UNKNOWN), finding("a", UNKNOWN, OTHER)]
    found = verdict("a", [CHECK], [finding("a", ACTIVE)], after, ["b"])
    assert found.bad(keep_active=False) == [f"{CHECK} could not be judged again: {why}"]
    assert found.bad(keep_active=True) == found.bad(keep_active=False), "to keep what is active keeps nothing unseen"


def test_a_canary_that_is_worse_than_its_unchanged_peers_is_bad() -> None:
    after = [finding("a", ACTIVE, OTHER)]
    found = verdict("a", [], [], after, ["b"])
    assert found.bad(keep_active=True) == [f"new since the change: {OTHER}: it moves"]


def test_what_an_unchanged_peer_has_too_is_not_the_changes_doing() -> None:
    after = [finding("a", ACTIVE, OTHER), finding("b", ACTIVE, OTHER)]
    assert verdict("a", [], [], after, ["b"]).worse == ()
    assert verdict("a", [], [], after, []).worse, "b was changed too: it is no witness"


def test_what_was_active_before_is_not_new() -> None:
    one = [finding("a", ACTIVE, OTHER)]
    assert verdict("a", [], one, one, []).worse == ()


def test_a_cohort_finding_counts_for_its_hosts() -> None:
    drifted = Finding(Status.FAIL, "differs", Grade.RISK, check=CHECK, hosts=("a", "c"))
    assert verdict("a", [CHECK], [drifted], [], []).checks == {CHECK: Closed.CLOSED}
    assert verdict("b", [CHECK], [drifted], [], []).checks == {CHECK: Closed.UNPROVED}
