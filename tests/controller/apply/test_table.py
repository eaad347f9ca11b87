"""The reports of apply: as wide as they may be, wrapped at words, and with commands that can be copied."""

from __future__ import annotations

import io
import json

import pytest

from hostaudit.apply.resume import State
from hostaudit.change import table
from hostaudit.change.outcome import ChangeOutcome, HostOutcome, Outcome
from hostaudit.report import Style

WHERE = "-i inventory.ini"
LONG = "worker-17.rack-4.dc-west.internal.example.net"


def outcome(*hosts: HostOutcome, kind: str = "apply", how: str = "done", reason: str = "", **more: object) -> Outcome:
    change = ChangeOutcome("20261121T091326Z-5431", "pve_firewall", {h.host: h for h in hosts}, how, reason)
    for name, value in more.items():
        setattr(change, name, value)
    return Outcome(kind, "p", [change])


def told(one: Outcome, width: int = 80, *, colour: bool = False) -> str:
    out = io.StringIO()
    table.render(one, out, Style(width=width, colour=colour), WHERE)
    return out.getvalue()


def confirmed(name: str) -> HostOutcome:
    knobs = {"host.fw nf_conntrack_allow_invalid": ["0", "1", "1"]}
    return HostOutcome(name, State.CONFIRMED, "", {"conntrack-invalid-drop": "closed"}, [], knobs)  # type: ignore[arg-type] # a list of texts


FAILED = outcome(
    HostOutcome("h1", State.REVERTED, "put back, because the change did not succeed on all hosts"),
    HostOutcome(
        LONG, State.SETTLING,
        "the rule could not be made because the firewall's daemon hangs; not yet as before: host.fw "
        "nf_conntrack_allow_invalid was 0 and is 1",
    ),
    HostOutcome("h3", State.UNKNOWN, "not known whether it is back (no route to host)"),
    how="failed",
    reason=f"{LONG}: host.fw nf_conntrack_allow_invalid is 0, not 1, which the firewall's daemon should have taken",
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("one", [FAILED, outcome(confirmed("h1"), confirmed(LONG))])
def test_no_line_is_wider_than_the_terminal_ends_in_blanks_or_breaks_a_word(one: Outcome, width: int) -> None:
    lines = told(one, width).splitlines()
    assert [line for line in lines if len(line) > width and "hostaudit" not in line] == []
    assert [line for line in lines if line != line.rstrip()] == []
    words = set(" ".join(lines).split())
    for host in one.changes[0].hosts.values():
        assert set(host.detail.split()) <= words
        assert {word for name in host.knobs for word in f"{name}:".split()} <= words


def test_hosts_that_ended_alike_are_told_together() -> None:
    text = told(outcome(confirmed("h1"), confirmed("h2"), HostOutcome("h3", State.REVERTED, "it went back")))
    assert "\n  h1, h2  confirmed\n      host.fw nf_conntrack_allow_invalid: 0 -> 1\n" in text
    assert text.count("conntrack-invalid-drop: closed") == 1


def test_the_next_command_is_whole_on_its_line() -> None:
    assert f"\nTo undo: hostaudit rollback 20261121T091326Z-5431 {WHERE}\n" in told(outcome(confirmed("h1")), 40)
    shut = outcome(confirmed("h1"), HostOutcome("h2"), how="window", reason="closed", left=["h2"])
    assert told(shut).endswith(f"To go on in the next window: hostaudit apply --resume {WHERE}\n")
    assert "To undo" not in told(shut)
    assert told(FAILED).endswith(f"Not every host is known to be at an end: hostaudit apply --resume {WHERE}\n")


def test_why_it_ended_is_told_once() -> None:
    host = HostOutcome("h1", State.REVERTED, "the task failed")
    assert told(outcome(host, how="failed", reason="h1: the task failed")).count("the task failed") == 1
    assert "pve_firewall: the lock was broken" in told(outcome(host, how="failed", reason="the lock was broken"))


def test_what_a_host_says_stays_text_and_has_no_colour_in_a_pipe() -> None:
    text = told(outcome(HostOutcome("h1", State.REVERTED, "[red]x\x1b[31my"), how="failed", reason="\x1b[2J"))
    assert "\x1b" not in text
    assert "[red]x" in text
    assert "\x1b" in told(outcome(confirmed("h1")), colour=True)


def test_check_mode_shows_the_differences() -> None:
    host = HostOutcome("h1", changed=["sysctl: Write the files: /etc/sysctl.d/zz.conf\n- a\n+ b"])
    text = told(outcome(host, HostOutcome("h2"), kind="check", how="checked"))
    assert "h1  would change" in text
    assert "+ b\n" in text
    assert "h2  as wanted" in text
    assert "To undo" not in text


def test_the_document_has_the_exit_code_and_what_is_left() -> None:
    shut = outcome(confirmed("h1"), HostOutcome("h2"), how="window", reason="closed", left=["h2"])
    found = json.loads(table.document(shut))
    assert (found["exit_code"], found["changes"][0]["left"]) == (75, ["h2"])
