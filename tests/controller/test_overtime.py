"""What installed agents saw, on its way into reports and findings."""

from hostaudit.change.context import collected
from hostaudit.checks import View, _ring, all_checks
from hostaudit.commands.overtime import MOST_EVENTS, MOST_POINTS, OF_A_HOST, context
from hostaudit.model import Collected, Host, Unreachable
from hostaudit.policy import Policy
from hostaudit_agent.snapshot import Ring, RingSeries, SettingChange, Snapshot

NIGHT = 1_795_226_400.0
"""21 November 2026, 02:00 UTC."""


def answer(name: str, ring: Ring | None) -> Collected:
    return Collected(Host(name), Snapshot("0", NIGHT, 5.0, privileged=True, ring=ring), 0.1)


def test_without_a_ring_there_is_nothing_beside_the_run() -> None:
    assert context([answer("a", None), answer("b", Ring(present=False)), Unreachable(Host("c"), "connect", "")]) is None


def test_series_are_rates_with_their_times_and_gaps() -> None:
    ring = Ring(
        present=True,
        started=NIGHT,
        boots=[NIGHT],
        changes=[SettingChange(NIGHT + 60, NIGHT, "net.core.somaxconn", "128", "4096")],
        series=[
            RingSeries("conntrack.use", [None, 12.5]),
            RingSeries("invalid_dropped nftables ip t forward", [0, 1200], 1200),
            RingSeries("Tcp.OutSegs", [9, 9], 18),
        ],
    )
    found = context([answer("a", ring)])
    assert found is not None
    assert [(s.name, s.unit, s.limit) for s in found.series] == [
        ("INVALID dropped, forward", "packets/s", None),
        ("conntrack use", "%", 100.0),
    ], "what says nothing about loss is left out"
    assert [(p.time, p.value) for p in found.series[0].points] == [
        ("2026-11-21T02:00:00Z", 0.0),
        ("2026-11-21T02:05:00Z", 4.0),
    ]
    assert [p.value for p in found.series[1].points] == [None, 12.5]
    assert [(e.kind, e.what) for e in found.events] == [
        ("reboot", "started anew"),
        ("note", "net.core.somaxconn: 128 -> 4096"),
    ]


def test_a_host_that_lies_gets_no_more_than_its_share() -> None:
    wild = [RingSeries(f"device e{i} ring", [1.0] * 5000, 5000) for i in range(100)]
    ring = Ring(present=True, started=NIGHT, step=0, series=wild, boots=[1e300, -1e300, *[NIGHT] * 99])
    found = context([answer("a", ring)])
    assert found is not None
    assert len(found.series) == OF_A_HOST
    assert max(len(s.points) for s in found.series) == MOST_POINTS
    assert len(found.events) <= MOST_EVENTS
    assert context([answer("a", Ring(present=True, started=1e300, series=wild))]) is not None


def test_a_change_is_judged_without_what_hosts_remember() -> None:
    """Else a burst of last night would say that the fix of this morning did not help."""
    given = answer("a", Ring(present=True))
    assert [one.snapshot.ring for one in collected({"a": given})] == [None]
    assert given.snapshot.ring is not None


def test_times_of_a_burst() -> None:
    def told(start: float, end: float) -> str:
        return _ring.when(RingSeries("x", burst=1, burst_from=start, burst_until=end))

    assert told(NIGHT, NIGHT + 300) == "21 Nov 02:00-02:05 UTC"
    assert told(NIGHT, NIGHT + 20) == "21 Nov 02:00 UTC"
    assert told(NIGHT - 7260, NIGHT) == "21 Nov 02:00 UTC", "over midnight the end counts"
    assert told(1e300, NIGHT) == "21 Nov 02:00 UTC"
    assert told(NIGHT, 1e300) == "at an unknown time"


def test_another_namespace_is_not_judged_by_it() -> None:
    one = answer("a", Ring(present=True, series=[RingSeries("x", burst=9)]))
    view = View(one.host, one.snapshot, Policy(), all_checks()["conntrack-table-full"])
    assert _ring.series(view, "x")
    assert not _ring.series(View(one.host, one.snapshot, Policy(), view.check, netns="netns blue"), "x")
