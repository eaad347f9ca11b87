"""What ``run --probe`` asks for, what becomes of a vantage point that is not reached, and what reports show of it."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import pytest
from tests.controller.test_trace import CLIENT, DROPPED, PORT, VIP, WORKS, heard, node

from hostaudit import report
from hostaudit.checks import all_checks
from hostaudit.commands.alongside import of_trace, with_probes
from hostaudit.commands.probing import exit_code
from hostaudit.commands.shortprobe import joined
from hostaudit.commands.trace import _write_context
from hostaudit.errors import UsageError
from hostaudit.evaluate import counts, evaluate
from hostaudit.model import Host, Run, Status
from hostaudit.policy import Policy
from hostaudit.probe import others, results, table, targets, vantage, watch
from hostaudit.probe.tcp import MANAGEMENT, Plan, probe
from hostaudit.probed import Dns, Probes, Series, Try, Vantage
from hostaudit.report._document import load_context
from hostaudit.report.page.context import Context, Event, Hop
from hostaudit.trace.connections import Attempt
from hostaudit.trace.document import made
from hostaudit_agent.probe.mtu import Path as Way

if TYPE_CHECKING:
    from pathlib import Path

GONE = vantage.Reply(Vantage("c1", "unreachable", "no route to host"))
READS_PROBES = [check.id for check in all_checks().values() if "probes" in check.reads]


def host(name: str = "pve1", **variables: Any) -> Host:
    return Host(name, variables={f"hostaudit_{key}": value for key, value in variables.items()})


# ---- what is declared


def test_management_ports_are_those_of_the_hosts_own_address() -> None:
    one = Host("pve1", variables={"ansible_host": "10.0.0.11", "hostaudit_management": "22, 8006"})
    two = Host("pve2", variables={"ansible_host": "2001:db8::2", "hostaudit_management": [22]})
    three = host("pve3", management=["10.9.9.9:443"])
    found = {named.text: name for named, name in targets.management([one, two, three]).items()}
    assert found == {
        "10.0.0.11:22": "pve1",
        "10.0.0.11:8006": "pve1",
        "[2001:db8::2]:22": "pve2",
        "10.9.9.9:443": "pve3",
    }


def test_too_few_connections_for_an_sshd_to_lock_the_audit_out() -> None:
    """PerSourcePenalties of sshd_config(5): noauth:1s for each, enforced from min:15s on."""
    assert MANAGEMENT.count < 15


@pytest.mark.parametrize("text", ["ssh", "10.0.0.11", "0", "70000"])
def test_a_management_port_that_is_none_names_the_host_and_the_variable(text: str) -> None:
    with pytest.raises(UsageError, match="pve1: hostaudit_management"):
        targets.management([host(management=text)])


def test_name_servers_with_names_and_with_those_of_the_targets() -> None:
    named = [targets.parse("shop.example:443"), targets.parse("10.0.0.100:443"), targets.parse("[2001:db8::1]:443")]
    table_ = host(dns={"10.0.0.53": "db.example, mail.example.", "10.0.0.54:5353": ["x.example"]})
    found = targets.name_servers([table_, host("w1", dns="2001:db8::53")], named)
    assert [(one.address, one.port, one.names) for one in found] == [
        ("10.0.0.53", 53, ("db.example.", "mail.example.")),
        ("10.0.0.54", 5353, ("x.example.",)),
        ("2001:db8::53", 53, ("shop.example.",)),
    ]


def test_a_name_server_without_a_name_to_ask_for_is_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match=r"pve1: hostaudit_dns: no name .* write \{'10.0.0.53': 'shop.example'\}"):
        targets.name_servers([host(dns="10.0.0.53")], [targets.parse("10.0.0.100:443")])
    with pytest.raises(UsageError, match=r"pve1: hostaudit_dns: 'ns.example' is no address"):
        targets.name_servers([host(dns={"ns.example": "shop.example"})], [])


# ---- a vantage point that is not reached


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> Probes:
    """Every kind of probe, from a vantage point that is not reached."""
    monkeypatch.setattr(vantage, "perform", lambda *_: [GONE])
    where = vantage.From((host("c1"),), here=False)
    named = [targets.parse("10.0.0.100:443")]
    parts = [
        probe(named, Plan(), where),
        others.arp(["10.0.0.100"], where),
        others.tls(named, where, now=None),  # type: ignore[arg-type]  # nothing is judged by it
        others.dns(["shop.example."], "10.0.0.53", where),
    ]
    return joined(parts)


def test_nothing_of_it_is_silently_absent(unreached: Probes) -> None:
    for kind in ("tcp", "arp", "tls", "dns"):
        (one,) = getattr(unreached, kind)
        assert (one.vantage, one.error) == ("c1", "no route to host"), kind


@pytest.mark.parametrize("check", READS_PROBES)
def test_every_check_that_would_judge_it_says_unknown_and_why(check: str, unreached: Probes) -> None:
    series = (*unreached.tcp, *(dataclasses.replace(s, host="pve1") for s in unreached.tcp))
    several = tuple(dataclasses.replace(s, address="10.0.0.101", target="10.0.0.100:443") for s in unreached.tcp)
    seen = dataclasses.replace(unreached, tcp=(*series, *several))
    if check == "pmtu-blackhole":
        (path,) = (results.mtu("c1", _path()),)
        seen = dataclasses.replace(seen, mtu=(path,))
    findings = evaluate([], Policy(), {check: all_checks()[check]}, seen)
    assert findings, "silence would be taken for a pass"
    assert {finding.status for finding in findings} == {Status.UNKNOWN}
    if check != "dns-round-robin-partial":
        assert "no route to host" in findings[0].summary


def _path() -> Way:
    return Way("10.0.0.100", "untried", error="no route to host")


def test_it_is_told_once_and_is_no_failure_of_the_target(unreached: Probes) -> None:
    assert exit_code(unreached) == 4
    text = table.render(unreached, report.Style(frozenset(), 80, colour=False))
    assert text.count("no route to host") == 1
    assert "hostaudit_probe_ok" not in watch.textfile(unreached, 1.0)
    assert 'hostaudit_probe_vantage_up{vantage="c1"} 0' in watch.textfile(unreached, 1.0)


def test_joined_parts_remember_the_worst_of_a_vantage_point() -> None:
    fine = Probes((Vantage("here"), Vantage("c1")))
    found = joined([fine, Probes((Vantage("c1", "unreachable", "timed out"),)), fine])
    assert found.vantages == (Vantage("here"), Vantage("c1", "unreachable", "timed out"))


# ---- lookups


@pytest.mark.parametrize(
    ("a", "aaaa", "pairs"),
    [
        ((1.0, 1.0), (1.0, 1.0), 0),
        ((1.0, 5001.0), (1.0, 1.0), 1),
        ((1.0, 5001.0), (5001.0, 1.0), 2),
        ((5001.0, 1.0), (5001.0, 1.0), 0),
        ((1.0, None), (1.0, 1.0), 1),
        ((1.0, 1.0), (None, None), 0),
        ((None, None), (None, None), 0),
    ],
)
def test_a_pair_loses_one_of_its_answers(a: tuple[float, ...], aaaa: tuple[float, ...], pairs: int) -> None:
    assert Dns("here", "10.0.0.53", "x.", 2, {"A": a, "AAAA": aaaa}).lost_pairs == pairs


# ---- beside a run


def series(strip: str, **given: Any) -> Series:
    kinds = {".": "ok", "x": "no-answer", "?": "local"}
    tries = tuple(Try(kinds[c], 61000 + n, 1.0 if c == "." else None) for n, c in enumerate(strip))
    return Series(
        **{"vantage": "here", "target": "10.0.0.100:443", "address": "10.0.0.100", "port": 443, **given}, tries=tries
    )


def test_the_matrix_has_every_address_and_whose_management_port_it_is() -> None:
    tcp = (
        series(".x.x.x.x"),
        series("....", target="shop.example:443"),
        series("xx", vantage="c1", target="10.0.0.11:22", address="10.0.0.11", host="pve1"),
        series("", vantage="c1", error="no route to host"),
    )
    context = with_probes(Context(events=(Event("", "x"),)), Probes(tcp=tcp))
    assert context is not None
    assert len(context.events) == 1, "what was beside the run already stays there"
    assert [(p.vantage, p.target, p.verdict, p.attempts) for p in context.probes] == [
        ("here", "10.0.0.100:443", "path-dependent", "+-+-+-+-"),
        ("here", "shop.example:443 (10.0.0.100)", "ok", "++++"),
        ("c1", "pve1, 10.0.0.11:22", "down", "--"),
        ("c1", "10.0.0.100:443", "not known", ""),
    ]
    assert "all 4 from odd source ports fail" in context.probes[0].note
    assert context.probes[3].note == "could not be tried: no route to host"
    assert with_probes(None, None) is None


def test_the_ways_of_a_trace_stand_beside_a_run(tmp_path: Path) -> None:
    later = [(port, out, raw.replace(b"\xee\x49", b"\xee\x4a")) for port, out, raw in DROPPED]
    attempts = [(61001, "ok"), (61002, "no-answer")]
    trace = made(
        [node("h1", heard(*WORKS, *later))],
        (),
        [Attempt(CLIENT, port, outcome) for port, outcome in attempts],
        VIP,
        PORT,
        target=f"{VIP}:{PORT}",
        vantage="here",
        started="",
    )
    lost, fine = of_trace(trace).traces
    assert (lost.verdict, fine.verdict) == ("dropped-in-host", "ok-symmetric")
    assert fine.hops[0] == Hop("h1", "eno1", "SYN", seen=True)
    assert lost.hops[-1] == Hop("h1", "", "SYN-ACK", seen=False, note="last seen on vmbr0")
    assert lost.title == f"1 of 1 even ports: here > {VIP}:{PORT}"
    kept = tmp_path / "context.json"
    _write_context(kept, trace)
    assert load_context(kept) == of_trace(trace)
    page = io.StringIO()
    run = Run("r", "2027-01-01T00:00:00Z", "2027-01-01T00:00:01Z", "0", (), (), counts(()))
    report.render("html", run, page, report.Style(frozenset(), 80, colour=False), of_trace(trace))
    assert "dropped-in-host" in page.getvalue()
