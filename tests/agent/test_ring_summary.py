"""What the next audit and node_exporter are told of the installed agent's ring."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hostaudit_agent.collectors import ring as surface
from hostaudit_agent.ring import dear, metrics
from hostaudit_agent.ring.store import Store
from hostaudit_agent.ring.summary import MOST_SERIES, POINTS, STEP, summarize
from hostaudit_agent.root import Root

LIMIT, TICK = 4 << 20, 60
NOW = 1_795_240_800.0
"""21 November 2026, 06:00 UTC."""
NIGHT = NOW - 4 * 3600
CHAIN = "iptables-legacy ip filter PVEFW-FORWARD"


def quiet(t: float) -> dict[str, Any]:
    """Return a line as a host with some traffic and no trouble writes it."""
    return {"t": t, "s": 60.0, "c": [1834, 262144], "d": {"Tcp.OutSegs": 51234, "Tcp.RetransSegs": 12}}


# ---- the summary


def day() -> list[dict[str, Any]]:
    """Return the lines of a day with a tick a minute, and a burst from 02:00 to 02:05."""
    found = []
    for t in range(int(NOW) - 86400 + 600, int(NOW) + 1, TICK):
        record = quiet(float(t))
        if NIGHT < t <= NIGHT + 300:
            record |= {"r": {CHAIN: 248}, "rs": 60.0, "c": [250000, 262144]}
            record["d"] |= {"conntrack.invalid": 248, "Ip.ForwDatagrams": 10}
        found.append(record)
    return found


def test_a_burst_has_its_time_and_size() -> None:
    found = {one.name: one for one in summarize(day(), NOW).series}
    burst = found["invalid_dropped " + CHAIN]
    assert (burst.burst, burst.total, burst.bursts) == (1240, 1240, 1)
    assert (burst.burst_from, burst.burst_until, burst.last) == (NIGHT, NIGHT + 300, NIGHT + 300)
    assert burst.most == pytest.approx(248 / 60, abs=0.01)
    assert burst.of == 50, "what was routed meanwhile"
    assert [p for p in burst.points if p] == [1240]
    assert burst.points.index(1240) == (NIGHT - summarize([], NOW).started) / STEP
    use = found["conntrack.use"]
    assert use.most == pytest.approx(95.37, abs=0.01)
    assert NIGHT <= use.most_at <= NIGHT + 2 * STEP


def test_series_are_as_long_as_agreed_and_say_where_nobody_looked() -> None:
    records = [r for r in day() if not NIGHT - 7200 < r["t"] <= NIGHT - 3600]
    for one in summarize(records, NOW).series:
        assert len(one.points) == POINTS
        assert one.points.count(None) >= 11, one.name


def test_two_bursts_are_two() -> None:
    records = [{"t": NIGHT + t, "s": 60.0, "d": {"x": n}} for t, n in ((0, 5), (60, 5), (600, 3))]
    found = summarize(records, NOW).series[0]
    assert (found.bursts, found.burst, found.total) == (2, 10, 13)
    assert found.burst_until == NIGHT + 60


def test_losses_of_an_interface_are_told_with_what_passed() -> None:
    record = {"t": NIGHT, "s": 60.0, "n": {"eth0": [9000, 800, 0, 90, 7, 0, 0, 0]}}
    found = {one.name: (one.burst, one.of) for one in summarize([record], NOW).series}
    assert found == {"device eth0 rx_dropped": (90, 9000), "device eth0 qdisc.drops": (7, 800)}


def test_boots_settings_and_the_log_are_told() -> None:
    records = [
        {"t": NIGHT, "b": "one", "c": [1, 9]},
        {"t": NIGHT + 60, "b": "two", "v": {"a": ["0", "1"]}, "k": [["oom-kill", "/x", 2, NIGHT + 3, NIGHT + 4]]},
    ]
    found = summarize(records, NOW)
    assert found.boots == [NIGHT + 60]
    assert [(c.name, c.before, c.after, c.until) for c in found.changes] == [("a", "0", "1", NIGHT + 60)]
    assert [(e.kind, e.count, e.last) for e in found.events] == [("oom-kill", 2, NIGHT + 4)]


def test_of_another_day_nothing_is_told() -> None:
    records = [{"t": t, "s": 60.0, "d": {"x": 1}} for t in (NOW - 2 * 86400, NOW + 86400, -1.0, 1e300)]
    found = summarize(records, NOW)
    assert found.series == []
    assert found.ticks == 0


def test_whatever_stands_in_a_line_does_no_harm() -> None:
    bad: list[Any] = [None, "x", [], {}, -1, 1e308, {"a": "b"}, [[]], {"a": [1]}, {"a": None}]
    records = [{"t": NIGHT, "s": 60.0, key: value} for key in "scdrnvkb" for value in bad]
    records += [{"t": NIGHT, "rs": None, "r": {"x": 1}}]
    found = summarize(records, NOW)
    assert found.damaged > 0
    assert json.dumps([vars(one) for one in found.series])


def test_as_much_as_there_may_be_is_bounded() -> None:
    records = [{"t": NIGHT + i, "s": 1.0, "d": {f"{'n' * 300}{i}": 1}, "v": {str(i): ["", ""]}} for i in range(2000)]
    found = summarize(records, NOW)
    assert len(found.series) <= MOST_SERIES
    assert max(len(one.name) for one in found.series) <= 120
    assert len(found.changes) <= 64


def test_the_surface_reads_the_ring_of_a_tree(tmp_path: Path) -> None:
    now = time.time()
    with Store(str(tmp_path / "var/lib/hostaudit/ring"), LIMIT, 8 * 86400) as store:
        for i in range(5):
            store.append({"t": now - 60 * (5 - i), "s": 60.0, "d": {"conntrack.invalid": 7}}, {"u": {"kmsg": "why"}})
        with Path(store.path(store.segments()[-1][0])).open("ab") as file:
            file.write(b'{"t":')
    found = surface.collect(Root(str(tmp_path)), None, lambda *_: None)
    assert (found.ticks, found.damaged, found.unread) == (5, 1, {"kmsg": "why"})
    assert found.series[0].total == 35
    assert not surface.collect(Root(str(tmp_path / "var")), None, lambda *_: None).present


def test_an_agent_that_looks_no_more_is_told(tmp_path: Path) -> None:
    with Store(str(tmp_path / "var/lib/hostaudit/ring"), LIMIT, 8 * 86400) as store:
        store.append({"t": time.time() - 36000, "s": 60.0}, {})
    said: list[str] = []
    surface.collect(Root(str(tmp_path)), None, lambda part, why: said.append(part + why))
    assert said == ["the installed agent looked last 10 h ago; see hostaudit-agent.service"]


# ---- metrics


def test_metrics_are_what_prometheus_reads() -> None:
    hostile = 'nftables inet filter in"put\\\nx'
    state = {"t": NOW, "u": {}, "c": [5, 100], "r": {CHAIN: 1240, hostile: 2, dear.OTHERS: 1}, "kk": {"oom-kill": 2}}
    state["d"] = {"conntrack.invalid": 1 << 40, "TcpExt.ListenOverflows": 3, "softnet.dropped": 0}
    families = {f.name: f for f in text_string_to_metric_families(metrics.text(state, 99))}
    assert all(f.documentation and f.type in ("gauge", "counter") for f in families.values())
    chains = {s.labels["chain"]: s.value for s in families["hostaudit_agent_invalid_dropped_packets"].samples}
    assert chains == {"PVEFW-FORWARD": 1240, 'in"put\\\nx': 2, "others": 1}
    assert families["hostaudit_agent_conntrack_entries"].samples[0].value == 5
    assert families["hostaudit_agent_last_tick_timestamp_seconds"].samples[0].value == NOW


def test_a_tick_that_read_nothing_has_metrics_too() -> None:
    families = {f.name: f for f in text_string_to_metric_families(metrics.text({"t": NOW, "u": {"a": "b"}}, 0))}
    assert families["hostaudit_agent_unread"].samples[0].value == 1
    assert "hostaudit_agent_conntrack_entries" not in families
