"""A change of which half is worse than none says for how long it is half, and what happens when one host fails."""

from __future__ import annotations

from hostaudit.halves import TOGETHER, whole, with_risk
from hostaudit.knobs import ALLOW_INVALID
from hostaudit.model import KnobChange, PlannedChange


def change(name: str, knob: str = ALLOW_INVALID) -> PlannedChange:
    moved = (KnobChange(knob, "0", None, "1"),)
    return PlannedChange(
        f"{name}/x", name, "pve", (), "pve-firewall", "pve_firewall", {}, moved, 1, 1, "It loosens a rule.", "", {}
    )


def risks(number: int) -> set[str]:
    return {one.risk for one in with_risk([change(f"h{n}") for n in range(number)], 38, 15)}


def test_two_nodes_are_changed_in_one_batch_and_the_seconds_between_them_are_said() -> None:
    (said,) = risks(2)
    assert said.startswith("It loosens a rule. While only some of the 2 hosts have it, ")
    assert "all are changed in one batch, which takes it within about 15 s. Where one fails, all go back." in said


def test_on_a_large_fleet_the_canarys_time_alone_is_said() -> None:
    (said,) = risks(TOGETHER + 1)
    assert "one canary of each cohort has it alone for about 38 s, then all others get it in one batch" in said


def test_one_host_and_other_options_have_no_other_half() -> None:
    assert risks(1) == {"It loosens a rule."}
    other = change("h2", "host.fw nf_conntrack_max")
    assert with_risk([change("h1"), other], 38, 15) == (change("h1"), other)
    assert not whole([other])
