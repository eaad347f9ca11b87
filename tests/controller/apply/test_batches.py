from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit.apply.batches import batches, parse_serial, stages
from hostaudit.errors import UsageError
from hostaudit.knobs import ALLOW_INVALID
from hostaudit.model import KnobChange, PlannedChange


def make(name: str, cohort: str = "web", role: str = "tcp_backlog") -> PlannedChange:
    return PlannedChange(f"{name}/{role}", name, cohort, (), "", role, {}, (), 1, 1, "", "", {})


def cut(hosts: list[tuple[str, str]], serial: str) -> list[list[str]]:
    found = batches([make(name, cohort) for name, cohort in hosts], parse_serial(serial))
    return [[change.host for change in batch] for batch in found]


WEB = [(f"h{i}", "web") for i in range(10)]


@pytest.mark.parametrize(
    ("hosts", "serial", "sizes"),
    [
        (WEB[:1], "1,10%,50%", [1]),
        (WEB, "1,10%,50%", [1, 1, 5, 3]),
        (WEB, "1,100%", [1, 9]),
        (WEB, "1", [1] * 10),
        (WEB, "3", [1, 3, 3, 3]),
        (WEB, "100%", [1, 9]),
        ([("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")], "1,50%", [2, 2]),
    ],
)
def test_the_canary_is_one_host_of_each_cohort_and_the_rest_follows(
    hosts: list[tuple[str, str]], serial: str, sizes: list[int]
) -> None:
    assert [len(batch) for batch in cut(hosts, serial)] == sizes


def test_canaries_are_the_first_of_their_cohorts() -> None:
    assert cut([("a", "x"), ("b", "x"), ("c", "y")], "1,100%") == [["a", "c"], ["b"]]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from("xyz")), unique_by=lambda h: h[0], max_size=40),
    st.lists(st.sampled_from(["1", "2", "7", "1%", "10%", "50%", "100%"]), min_size=1, max_size=4),
)
def test_every_host_has_one_turn_and_no_cohort_goes_without_a_canary(
    hosts: list[tuple[int, str]], serial: list[str]
) -> None:
    found = cut([(f"h{n}", cohort) for n, cohort in hosts], ",".join(serial))
    assert sorted(name for batch in found for name in batch) == sorted(f"h{n}" for n, _ in hosts)
    cohort = {f"h{n}": c for n, c in hosts}
    if found:
        assert sorted(cohort[name] for name in found[0]) == sorted({c for _, c in hosts})


@pytest.mark.parametrize("text", ["", "0", "1,", "101%", "0%", "-1", "ten", "1.5", "5 %"])
def test_a_serial_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither a number of hosts nor a percentage"):
        parse_serial(text)


def test_a_stage_is_a_role_in_the_plans_order() -> None:
    changes = [make("a", role="sysctl"), make("a", role="rp_filter"), make("b", role="sysctl")]
    found = stages(changes)
    assert [(stage.role, stage.hosts) for stage in found] == [("sysctl", ("a", "b")), ("rp_filter", ("a",))]


def test_a_role_twice_on_a_host_is_two_stages() -> None:
    found = stages([make("a"), make("a"), make("b")])
    assert [stage.hosts for stage in found] == [("a", "b"), ("a",)]


def accepting(number: int) -> list[PlannedChange]:
    knob = KnobChange(ALLOW_INVALID, "0", None, "1")
    return [replace(make(f"h{n}", role="pve_firewall"), knobs=(knob,)) for n in range(number)]


def test_accepting_invalid_packets_is_all_or_nothing_and_another_option_of_the_firewall_is_not() -> None:
    assert [s.whole for s in stages([*accepting(1), make("a", role="pve_firewall"), make("a")])] == [True, False]
    assert stages([make("a", role="pve_firewall")])[0].whole is False


@pytest.mark.parametrize(
    ("number", "serial", "sizes"),
    [(2, (), [2]), (8, (), [8]), (9, (), [1, 8]), (40, (), [1, 39]), (3, ("1", "1"), [1, 1, 1])],
)
def test_what_is_worse_done_by_half_is_done_at_once_unless_somebody_says_otherwise(
    number: int, serial: tuple[str, ...], sizes: list[int]
) -> None:
    assert [len(batch) for batch in batches(accepting(number), serial)] == sizes


def test_without_a_serial_there_is_a_canary_then_a_tenth_then_halves() -> None:
    assert [len(batch) for batch in batches([make(name) for name, _ in WEB], ())] == [1, 1, 5, 3]
