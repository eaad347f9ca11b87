from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostaudit_agent.netfilter import iptables, iptrules, xtables, xtmatch
from hostaudit_agent.netfilter.chains import Reading
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from pathlib import Path


def judged(blob: xtables.Blob) -> Reading:
    reading = Reading()
    iptrules.judge(blob, reading)
    return reading


def test_each_rule_that_drops_invalid_is_found_and_no_other(recorded_table: xtables.Blob) -> None:
    rules = {(f.rule.chain, f.rule.index): f.rule for f in judged(recorded_table).invalid}
    assert {place: (rule.verdict, rule.states, rule.narrowed, rule.hooks) for place, rule in rules.items()} == {
        ("INPUT", 1): ("drop", ["INVALID"], False, ["input"]),
        ("INPUT", 2): ("reject", ["INVALID", "UNTRACKED"], True, ["input"]),
        ("INPUT", 3): ("drop", ["INVALID"], True, ["input"]),
        ("FORWARD", 2): ("drop", ["INVALID", "UNTRACKED"], True, ["forward"]),
        ("PVEFW-FORWARD", 1): ("drop", ["INVALID"], False, ["forward"]),
        ("PVEFW-FORWARD", 3): ("jump LOGDROP", ["INVALID", "NEW"], False, ["forward"]),
        ("DEAD", 1): ("jump LOGDROP", ["INVALID"], False, []),
    }


def test_text_is_what_iptables_save_prints(recorded_table: xtables.Blob, data: Path) -> None:
    saved = (data / "legacy.rules").read_text().splitlines()
    for found in judged(recorded_table).invalid:
        assert found.rule.text in saved


def test_policies_and_number_of_rules(recorded_table: xtables.Blob, data: Path) -> None:
    reading = judged(recorded_table)
    chains = {"INPUT": "accept", "FORWARD": "drop", "OUTPUT": "accept"}
    assert reading.policies == {f"iptables-legacy/ip/filter/{chain}": policy for chain, policy in chains.items()}
    saved = (data / "legacy.rules").read_text().split("*filter")[1]
    assert reading.backends == {"iptables-legacy/ip": saved.count("\n-A ")}


def test_equal_rules_keep_their_names_when_another_one_comes_in_between(recorded_table: xtables.Blob) -> None:
    keys = [found.key for found in judged(recorded_table).invalid]
    assert len(set(keys)) == len(keys)
    assert (
        "iptables-legacy",
        "ip",
        "filter",
        "PVEFW-FORWARD",
        "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP",
        1,
    ) in keys


def mtinfo(revision: int, mask: int, invert: int = 0, flags: int = 1) -> bytes:
    return bytes(146) + struct.pack("=HHB" if revision == 1 else "=HHH", flags, invert, mask) + bytes(8)


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_conntrack_revisions(revision: int) -> None:
    assert xtmatch.states("conntrack", revision, mtinfo(revision, 1 | 8)) == {"INVALID", "NEW"}
    inverted = mtinfo(revision, 2 | 4 | 8, invert=1)
    assert "INVALID" in (xtmatch.states("conntrack", revision, inverted) or set())
    assert xtmatch.match_text("conntrack", revision, inverted) == "-m conntrack ! --ctstate NEW,RELATED,ESTABLISHED"
    assert xtmatch.states("conntrack", revision, mtinfo(revision, 0, flags=2)) is None


def test_the_old_state_match() -> None:
    assert xtmatch.states("state", 0, struct.pack("=I", 1 | 64)) == {"INVALID", "UNTRACKED"}
    assert xtmatch.match_text("state", 0, struct.pack("=I", 1)) == "-m state --state INVALID"


@pytest.mark.parametrize(
    ("name", "revision", "info"), [("conntrack", 9, bytes(200)), ("conntrack", 3, bytes(20)), ("state", 0, b"")]
)
def test_an_unknown_state_match_is_not_passed_over(name: str, revision: int, info: bytes) -> None:
    with pytest.raises(xtmatch.Unknown):
        xtmatch.states(name, revision, info)


def test_an_unknown_revision_is_reported_as_unread(recorded_table: xtables.Blob) -> None:
    changed = recorded_table.data.replace(b"conntrack\0" + bytes(19) + b"\3", b"conntrack\0" + bytes(19) + b"\7")
    assert changed != recorded_table.data
    reading = judged(recorded_table._replace(data=changed))
    assert not reading.invalid
    assert (
        "iptables-legacy/ip/filter/PVEFW-FORWARD",
        "rule 1: conntrack match of revision 7, 168 bytes",
    ) in reading.unread


@pytest.mark.parametrize("cut", [1, 40, 100, 112, 200, 500])
def test_a_truncated_table_is_an_error(recorded_table: xtables.Blob, cut: int) -> None:
    with pytest.raises(OSError, match="malformed entry"):
        judged(recorded_table._replace(data=recorded_table.data[:-cut]))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_damaged_table_is_read_or_refused(recorded_table: xtables.Blob, data: st.DataObject) -> None:
    damaged = bytearray(recorded_table.data)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    # iptables.read turns these into an unread part.
    with contextlib.suppress(OSError, KeyError, IndexError, ValueError, struct.error):
        judged(recorded_table._replace(data=bytes(damaged)))


@given(st.binary(max_size=600))
def test_garbage_is_refused_or_empty(garbage: bytes) -> None:
    blob = xtables.Blob(xtables.IPV6, "filter", {0: "input"}, {"input": 0}, garbage)
    try:
        xtables.outline(blob)
    except OSError as error:
        assert "malformed" in str(error)  # noqa: PT017 - both outcomes are right


def test_no_table_is_touched_that_is_not_there(tmp_path: Path) -> None:
    reading = iptables.read(Root(str(tmp_path)))
    assert (reading.invalid, reading.backends, reading.unread) == ([], {}, [])


def test_a_table_that_vanishes_is_unread_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ip_tables_names").write_text("filter\n")

    def gone(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(xtables, "read", gone)
    reading = iptables.read(Root(str(tmp_path)))
    assert reading.unread == [("iptables-legacy/ip/filter", "No such file or directory")]
