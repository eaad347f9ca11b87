from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest

from hostaudit import border
from hostaudit.failures import HostError
from hostaudit_agent.snapshot import SCHEMA, Assignment, Counters, Knob, Platform, Snapshot, Sysctl, Unread


def body(**changes: object) -> bytes:
    snapshot = Snapshot("0", 1.0, 0.0, privileged=True, platform=Platform("h", "6.1"))
    return json.dumps({**asdict(snapshot), **changes}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(HostError) as caught:
        border.snapshot(data, "web1")
    assert caught.value.kind == "output"
    assert "web1" in caught.value.reason
    return caught.value.reason


def test_a_snapshot_arrives_whole() -> None:
    assert border.snapshot(body(), "web1") == Snapshot("0", 1.0, 0.0, privileged=True, platform=Platform("h", "6.1"))


def test_unknown_keys_of_a_newer_agent_are_ignored() -> None:
    assert border.snapshot(body(new={"deep": [1]}), "web1").schema == SCHEMA


def test_another_schema_is_named() -> None:
    assert "hostaudit.snapshot/9" in refused(body(schema="hostaudit.snapshot/9"))
    assert "no schema" in refused(b"{}")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"[1, 2", "not as agreed"),
        (b"Traceback", "not JSON"),
        (body(taken="now"), "$.taken"),
        (body(platform={"hostname": 5, "kernel": "6"}), "$.platform.hostname"),
        (body(unread=[{"surface": "x"}]), "$.unread[0]"),
        (b'{"schema": "\xff"}', "not"),
        (body(extra=0).replace(b'"extra": 0', b'"extra": ' + b"[" * 100_000 + b"]" * 100_000), "too deeply"),
    ],
)
def test_what_is_not_a_snapshot_is_refused_with_its_place(data: bytes, says: str) -> None:
    assert says in refused(data)


def test_no_string_can_touch_a_terminal() -> None:
    evil = "a\x1b[31m\x9b2J\u202ecod.exe\u200b\x00\nz"
    snapshot = border.snapshot(
        body(unread=[asdict(Unread(evil, evil))], platform={"hostname": evil, "kernel": "6"}), "w"
    )
    assert snapshot.platform is not None
    for text in (snapshot.platform.hostname, snapshot.unread[0].surface, snapshot.unread[0].reason):
        assert text.isprintable()
        assert text.startswith("a")
        assert text.endswith("z")


def test_names_in_tables_are_cleaned_too() -> None:
    knobs = {"net.ipv4.conf.eth\x1b0.rp_filter": {"running": "1\x07"}}
    snapshot = border.snapshot(body(sysctl={"knobs": knobs, "effective": {}}), "web1")
    assert snapshot.sysctl is not None
    ((name, knob),) = snapshot.sysctl.knobs.items()
    assert name.isprintable()
    assert knob.running == "1\N{REPLACEMENT CHARACTER}"


def test_ordinary_text_of_any_language_stays() -> None:
    assert border.text("Überwachung 東京 · ok") == "Überwachung 東京 · ok"


LINE = Assignment("1", "/etc/sysctl.d/a.conf", 1)
OTHERS = {"running": "2", "writable": True, "configured": LINE, "overridden": [LINE]}
"""Another value for each field of a knob."""


def test_hosts_share_knobs_that_say_the_same_and_no_others() -> None:
    """All fields are compared: with one that this test does not know, ``border`` would not know it either."""
    assert {one.name for one in fields(Knob)} == set(OTHERS)
    given = {"plain": Knob("1"), **{name: replace(Knob("1"), **{name: value}) for name, value in OTHERS.items()}}
    shots = [border.snapshot(body(sysctl=asdict(Sysctl(given))), name) for name in ("web1", "web2")]
    one, other = (shot.sysctl.knobs if shot.sysctl else {} for shot in shots)
    assert one == other == given
    assert all(one[name] is other[name] for name in given)
    assert len({id(knob) for knob in one.values()}) == len(given)


def test_what_hosts_come_up_with_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "_MOST_SHARED", 0)
    sysctl = Sysctl({"net.core.of_this_test": Knob("of this test")})
    shot = border.snapshot(body(sysctl=asdict(sysctl), counters=asdict(Counters({"Tcp.OfThisTest": 1}, {}))), "web1")
    assert shot.sysctl == sysctl
    assert shot.counters == Counters({"Tcp.OfThisTest": 1}, {})
    assert "Tcp.OfThisTest" not in border._NAMES
    assert not [knob for knob in border._KNOBS.values() if knob.running == "of this test"]
