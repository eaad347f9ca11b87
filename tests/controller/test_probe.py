"""What follows from what probes saw, which targets are meant, and what the command says to bad input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hostaudit.cli import main
from hostaudit.errors import UsageError
from hostaudit.model import Collected, Host
from hostaudit.probe import mtu, results, say, targets, watch
from hostaudit.probed import Arp, Mtu, Owner, Probes, Series, Try, Vantage, Verdict
from hostaudit_agent.probe.arp import Heard
from hostaudit_agent.snapshot import Link, LinkTable, Snapshot


def series(strip: str, first: int = 61000, **given: Any) -> Series:
    kinds = {".": "ok", "x": "no-answer", "?": "local"}
    tries = tuple(Try(kinds[c], first + n, 1.0 + n if c == "." else None) for n, c in enumerate(strip))
    return Series(
        **{"vantage": "here", "target": "10.0.0.100:443", "address": "10.0.0.100", "port": 443, **given}, tries=tries
    )


@pytest.mark.parametrize(
    ("strip", "verdict", "pattern"),
    [
        ("........", Verdict.OK, ""),
        ("xxxxxxxx", Verdict.DOWN, ""),
        ("????", Verdict.UNTRIED, ""),
        ("..?.", Verdict.OK, ""),
        (".x.x.x.x", Verdict.PATH_DEPENDENT, "all 4 from odd source ports fail, all 4 from even ones work"),
        ("x.x.x.x.", Verdict.PATH_DEPENDENT, "all 4 from even source ports fail, all 4 from odd ones work"),
        (".xx..x.x", Verdict.PATH_DEPENDENT, "odd and even source ports fail alike"),
        (".x.", Verdict.PATH_DEPENDENT, ""),
    ],
)
def test_verdict_and_pattern(strip: str, verdict: Verdict, pattern: str) -> None:
    found = series(strip)
    assert found.strip == strip
    assert found.verdict is verdict
    assert found.pattern.startswith(pattern)
    assert bool(found.pattern) == bool(pattern)


def test_percentiles_are_of_what_connected() -> None:
    assert series("." * 100).percentiles == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert series("xx").percentiles == {}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.100:443", "10.0.0.100", 443),
        ("[2001:db8::1]:6443", "2001:db8::1", 6443),
        ("shop.example:80", "shop.example", 80),
    ],
)
def test_targets(text: str, host: str, port: int) -> None:
    assert targets.parse(text) == targets.Named(text, host, port)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.100", "2001:db8::1:443", "[10.0.0.1]:443", "a:0", "a:65536", "a b:1", "x/24:1"]
)
def test_what_is_no_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="web: "):
        targets.parse(text, "web")


def test_the_inventory_declares_targets_and_addresses() -> None:
    one = Host(
        "web", variables={"hostaudit_vips": "10.0.0.100:443, 10.0.0.101", "hostaudit_probes": ["shop.example:80"]}
    )
    two = Host("db", variables={"hostaudit_vips": {"[2001:db8::1]:443": "w1", "10.0.0.100:443": "w2"}})
    declared = ["10.0.0.100:443", "[2001:db8::1]:443", "shop.example:80"]
    assert [named.text for named in targets.declared([one, two])] == declared
    assert targets.addresses([one, two]) == ["10.0.0.100", "10.0.0.101", "2001:db8::1"]
    assert two.vips == {"2001:db8::1": ("w1",), "10.0.0.100": ("w2",)}


def test_two_owners_and_an_owner_that_moves_are_two_things() -> None:
    a, b = "02:00:00:00:00:01", "02:00:00:00:00:02"
    both = results.arp("c1", Heard("10.0.0.100", "eth0", rounds=[[a, b], [b, a]]))
    assert (both.changes, {o.mac: o.replies for o in both.owners}) == (0, {a: 2, b: 2})
    moved = results.arp("c1", Heard("10.0.0.100", "eth0", rounds=[[a], [b], [], [a]]))
    assert moved.changes == 2
    assert say.arp(both)[1].startswith("2 machines answer")
    assert say.arp(moved)[1].startswith("the owner changes")
    assert say.arp(Arp("c1", "10.0.0.100", "eth0", (Owner(a, 3),), 3))[0] is True


def collected(name: str, *links: Link) -> Collected:
    snapshot = Snapshot("0", 0.0, 0.0, privileged=True, link=LinkTable(list(links)))
    return Collected(Host(name), snapshot, 0.1)


def test_pairs_grow_with_classes_not_with_hosts() -> None:
    def link(number: int, size: int = 1500) -> Link:
        return Link("eth0", 2, size, up=True, addresses=[f"10.0.0.{number}/24", "fe80::1/64"])

    alike = [collected(f"h{n:02}", link(n)) for n in range(1, 41)]
    found = mtu.pairs(alike)
    assert [(p.source, p.far, p.address) for p in found] == [("h01", "h02", "10.0.0.2"), ("h02", "h01", "10.0.0.1")]
    odd = [*alike, collected("x", link(99, 9000))]
    assert {(p.source, p.far, p.wanted) for p in mtu.pairs(odd)} == {("h01", "x", 9000), ("x", "h01", 9000)}
    third = [*odd, collected("y", link(98, 1400))]
    ends = {frozenset((p.source, p.far)) for p in mtu.pairs(third)}
    assert ends == {frozenset(pair) for pair in itertools.combinations(("h01", "x", "y"), 2)}
    assert mtu.pairs(alike[:1]) == []
    assert mtu.owners(alike)["10.0.0.7"] == "h07"
    assert "fe80::1" not in mtu.owners(alike)


def test_metrics_escape_what_people_write() -> None:
    seen = Probes((Vantage('a"b\\'),), tcp=(series(".x"),), mtu=(Mtu("here", "10.0.0.100", "black-hole", 1400, 1401),))
    text = watch.textfile(seen, 1.5)
    assert 'hostaudit_probe_vantage_up{vantage="a\\"b\\\\"} 1' in text
    assert (
        'hostaudit_probe_success_ratio{kind="tcp",vantage="here",target="10.0.0.100:443",address="10.0.0.100"} 0.5'
        in text
    )
    assert 'hostaudit_probe_path_mtu_bytes{kind="mtu",vantage="here",target="10.0.0.100"} 1400' in text
    assert text.endswith("hostaudit_probe_last_run_timestamp_seconds 1.5\n")
    assert "BLACK HOLE: 1400 bytes arrive, 1401 vanish" in say.mtu(seen.mtu[0])[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tcp"], "no TARGET, and the inventory names none"),
        (["tcp", "10.0.0.100"], "is not TARGET:PORT"),
        (["tcp", "a:1", "--source-ports", "9-1"], "expected FIRST-LAST"),
        (["tcp", "a:1", "--send", "\\x1"], "a backslash sequence that is none"),
        (["tcp", "name.invalid:1"], "could not be resolved from here"),
        (["tcp", "127.0.0.1:1", "--from", "h1"], "needs the inventory"),
        (["tcp", "127.0.0.1:1", "--rounds", "2"], "belong to --watch"),
        (["arp", "shop.example"], "is no address"),
        (["mtu"], "needs an ADDRESS, or two hosts"),
        (["dns", "shop.example"], "--server"),
        (["dns", "shop.example", "--server", "ns.example"], "is no address"),
    ],
)
def test_bad_input_is_a_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
