from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostaudit_agent.netfilter import nftables, nftrules
from hostaudit_agent.netfilter.nftexpr import Element, Expression, Set, Verdict
from hostaudit_agent.netfilter.nftread import GET_RULE, Ruleset
from hostaudit_agent.netfilter.nftrun import STATE_VALUES, run
from hostaudit_agent.netlink import attribute
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hostaudit_agent.netfilter.chains import Reading

# What stands at each place of ruleset.nft; rules that are not here must not be reported.
EXPECTED = {
    ("in", 1): ("drop", "INVALID", False, "input"),
    ("in", 2): ("drop", "INVALID", False, "input"),
    ("in", 3): ("reject", "INVALID UNTRACKED", True, "input"),
    ("in", 4): ("drop", "INVALID NEW", False, "input"),
    ("in", 5): ("drop", "INVALID NEW", True, "input"),
    ("in", 6): ("drop", "INVALID", False, "input"),
    ("in", 7): ("jump invalid-conntrack", "INVALID", False, "input"),
    ("in", 8): ("drop", "INVALID UNTRACKED", True, "input"),
    ("in", 9): ("drop", "INVALID NEW ESTABLISHED RELATED UNTRACKED", False, "input"),
    ("in", 10): ("drop", "INVALID UNTRACKED", False, "input"),
    ("in", 11): ("drop", "INVALID", False, "input"),
    ("in", 12): ("drop", "INVALID", True, "input"),
    ("in", 16): ("drop", "INVALID", True, "input"),
    ("tcpchain", 1): ("jump counted", "INVALID", False, "input"),
    ("forw", 1): ("drop", "INVALID", False, "forward"),
    ("forw", 2): ("drop", "INVALID", False, "forward"),
    ("dead", 1): ("drop", "INVALID", False, ""),
    ("b/f", 1): ("drop", "INVALID", False, "forward"),
    ("b/f", 2): ("drop", "INVALID", False, "forward"),
    ("d/f", 1): ("drop", "INVALID", False, ""),  # its table is dormant
}


def place(rule: Any) -> tuple[str, int]:
    return (rule.chain if rule.table == "a" else f"{rule.table}/{rule.chain}", rule.index)


@pytest.fixture(scope="module")
def reading(replay: Any) -> Reading:
    return nftrules.judge(Ruleset(replay()))


def test_each_rule_that_drops_invalid_is_found_and_no_other(reading: Reading) -> None:
    rules = [found.rule for found in reading.invalid]
    seen = {place(r): (r.verdict, " ".join(r.states), r.narrowed, " ".join(r.hooks)) for r in rules}
    assert seen == EXPECTED
    assert reading.unread == []


def test_a_counter_counts_only_what_the_verdict_falls_on(reading: Reading) -> None:
    counted = {place(found.rule) for found in reading.invalid if found.rule.packets is not None}
    # Not ("in", 11), whose counter stands before the match; ("b/f", 1) has it in the map's element.
    assert counted == {("in", 2), ("in", 3), ("in", 4), ("in", 5), ("in", 9), ("tcpchain", 1), ("b/f", 1)}


def test_notrack(reading: Reading) -> None:
    shown = [(found.rule.text, found.rule.verdict, found.rule.hooks) for found in reading.notrack]
    assert shown == [
        ("udp dport 4789 notrack", "notrack", ["prerouting"]),
        ("tcp dport 80 counter notrack", "notrack", ["prerouting"]),
    ]


def test_bridge_tables_are_read_like_others(replay: Any) -> None:
    def bridged(payload: bytes) -> bytes:
        return b"\7" + payload[1:]  # nfgenmsg.nfgen_family

    nl = replay(bridged)
    nl.answers = {key.replace(":01", ":07").replace(":0a", ":07"): value for key, value in nl.answers.items()}
    rules = [found.rule for found in nftrules.judge(Ruleset(nl)).invalid if found.rule.table == "a"]
    assert {rule.family for rule in rules} == {"bridge"}
    assert {place(rule) for rule in rules} == {key for key in EXPECTED if "/" not in key[0]}


def test_a_set_that_cannot_be_read_is_unread_not_no_rule(replay: Any) -> None:
    nl = replay()
    nl.answers = {key: value for key, value in nl.answers.items() if not key.startswith(f"{(10 << 8) | 10}:")}
    reading = nftrules.judge(Ruleset(nl))
    reasons = [reason for part, reason in reading.unread if part == "nftables/inet/a/in"]
    assert any(reason.startswith("rule 4: table a has no set __set") for reason in reasons)
    assert ("in", 4) not in {place(found.rule) for found in reading.invalid}


def test_a_chain_that_changed_meanwhile_is_unread(replay: Any) -> None:
    nl = replay()
    for key in nl.answers:
        if key.startswith(f"{GET_RULE}:") and len(key) > 20:
            nl.answers[key] = []
    reading = nftrules.judge(Ruleset(nl))
    assert any("changed while it was read" in reason for _, reason in reading.unread)
    assert ("in", 7) not in {place(found.rule) for found in reading.invalid}


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_answers_are_read_or_refused(replay: Any, data: st.DataObject) -> None:
    at, bit = data.draw(st.floats(0, 0.999)), data.draw(st.integers(0, 7))

    def damage(payload: bytes) -> bytes:
        changed = bytearray(payload)
        changed[int(at * len(changed))] ^= 1 << bit
        return bytes(changed)

    try:
        nftrules.judge(Ruleset(replay(damage)))
    except (OSError, *nftables.MALFORMED):
        pass  # what nftables.read turns into an unread part


# ---- single programs


def be(number: int) -> bytes:
    return struct.pack(">I", number)


def state(bits: int) -> bytes:
    return struct.pack("=I", bits)


CT_STATE = Expression("ct", {1: be(1), 2: be(0)})
DROP = Expression("immediate", {1: be(0), 2: attribute(2, attribute(1, be(0)))})


def cmp(operator: int, value: bytes, register: int = 1) -> Expression:
    return Expression("cmp", {1: be(register), 2: be(operator), 3: attribute(1, value)})


def dropped(*program: Expression, find_set: Callable[[str], Set] | None = None) -> set[str]:
    def none(name: str) -> Set:
        raise FileNotFoundError(name)

    outcomes = {name: run(list(program), name, find_set or none) for name in STATE_VALUES}
    return {name for name, outcome in outcomes.items() if outcome.matched and outcome.verdicts}


def test_range_and_byteorder() -> None:
    swap = Expression("byteorder", {1: be(1), 2: be(1), 3: be(1), 4: be(4), 5: be(4)})
    between = Expression("range", {1: be(1), 2: be(0), 3: attribute(1, be(1)), 4: attribute(1, be(2))})
    outside = Expression("range", {1: be(1), 2: be(1), 3: attribute(1, be(1)), 4: attribute(1, be(2))})
    if sys.byteorder == "big":
        pytest.skip("needs a little-endian machine: on others nft does not emit byteorder")
    assert dropped(CT_STATE, swap, between, DROP) == {"INVALID", "ESTABLISHED"}
    assert dropped(CT_STATE, swap, outside, DROP) == {"NEW", "RELATED", "UNTRACKED"}


def test_the_state_is_gone_when_its_register_is_loaded_again() -> None:
    other = Expression("meta", {1: be(1), 2: be(6)})
    outcome = run([CT_STATE, other, cmp(0, state(1)), DROP], "INVALID", lambda _: Set(0, 4, list))
    assert (outcome.state_used, outcome.narrowed, outcome.matched) == (False, True, True)


@pytest.mark.parametrize(("flags", "elements", "wanted"), [
    (0, [Element(state(1), None, 0, None)], {"INVALID"}),
    (4, [Element(state(1), None, 0, None), Element(state(2), None, 1, None)], {"INVALID"}),
    (4, [Element(state(1), state(4), 0, None)], {"INVALID", "ESTABLISHED", "RELATED"}),
    (0, [Element(b"", None, 2, None)], set(STATE_VALUES)),
])  # fmt: skip
def test_lookups(flags: int, elements: list[Element], wanted: set[str]) -> None:
    look = Expression("lookup", {1: b"s\0", 2: be(1)})
    assert dropped(CT_STATE, look, DROP, find_set=lambda _: Set(flags, 4, lambda: elements)) == wanted
    inverted = Expression("lookup", {1: b"s\0", 2: be(1), 5: be(1)})
    rest = dropped(CT_STATE, inverted, DROP, find_set=lambda _: Set(flags, 4, lambda: elements))
    assert rest == set(STATE_VALUES) - wanted


def test_a_verdict_map_on_something_else_may_still_drop() -> None:
    port = Expression("payload", {1: be(1), 2: be(2), 3: be(2), 4: be(2)})
    vmap = Expression("lookup", {1: b"m\0", 2: be(1), 3: be(0)})
    elements = [Element(b"\0\x16", None, 0, Verdict("accept")), Element(b"\0\x17", None, 0, Verdict("drop"))]
    program = [CT_STATE, cmp(0, state(1)), port, vmap]
    outcome = run(program, "INVALID", lambda _: Set(8, 2, lambda: elements))
    assert outcome.narrowed
    assert Verdict("drop") in outcome.verdicts


def test_an_expression_without_its_parts_is_an_error() -> None:
    with pytest.raises(OSError, match="without its parts"):
        run([Expression("cmp", {1: be(1)})], "INVALID", lambda _: Set(0, 4, list))


# ---- presence


def test_nothing_is_asked_of_a_kernel_that_would_have_to_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("nf_conntrack 200000 0 - Live 0x0\n")
    (tmp_path / "proc/kallsyms").write_text("0000 T nf_conntrack_in\t[nf_conntrack]\n")
    monkeypatch.setattr(nftables, "Netlink", None)  # opening a socket would be a TypeError
    assert nftables.read(Root(str(tmp_path))).unread == []
    (tmp_path / "proc/kallsyms").unlink()
    assert [part for part, _ in nftables.read(Root(str(tmp_path))).unread] == ["nftables"]
