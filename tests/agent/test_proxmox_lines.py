"""Lines of firewall files that the two implementations read differently; the ids are those of docs/proxmox.md."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from hostaudit_agent.proxmox import fwfile
from hostaudit_agent.proxmox.options import CLUSTER, GUEST, HOST

KEY = "nf_conntrack_allow_invalid"
FILE = "/etc/pve/nodes/pve1/host.fw"


class Case(NamedTuple):
    """A file, and what comes of its last line."""

    id: str
    text: str
    perl: str | None
    rust: str | None
    why: str = ""
    """Empty: both take it, and nothing is said."""
    refuses: bool = False


TABLE = [
    Case("plain", "[OPTIONS]\n%k: 1\n", "1", "1"),
    Case("no-blank", "[OPTIONS]\n%k:1\n", "1", "1"),
    Case("tab", "[OPTIONS]\n%k:\t1\n", "1", "1"),
    Case("indented", "[OPTIONS]\n   %k: 1   \n", "1", "1"),
    Case("no-newline", "[OPTIONS]\n%k: 1", "1", "1"),
    Case("crlf-value", "[OPTIONS]\n%k: 1\r\n", "1", "1"),
    Case("comment", "[OPTIONS]\n%k: 1 # note\n", None, None, "comment", refuses=True),
    Case("boolean", "[OPTIONS]\n%k: yes\n", None, "1", "boolean"),
    Case("boolean-true", "[OPTIONS]\n%k: True\n", None, "1", "boolean"),
    Case("equals", "[OPTIONS]\n%k = 1\n", None, None, "equals", refuses=True),
    Case("blank", "[OPTIONS]\n%k : 1\n", None, "1", "blank"),
    Case("case", "[OPTIONS]\n%K: 1\n", "1", None, "case"),
    Case("duplicate", "[OPTIONS]\n%k: 0\n%k: 1\n", "1", None, "duplicate", refuses=True),
    Case("crlf", "[OPTIONS]\r\n%k: 1\r\n", None, "1", "cr"),
    Case("bom", "\ufeff[OPTIONS]\n%k: 1\n", None, None, "outside", refuses=True),
    Case("section-comment", "[OPTIONS] # c\n%k: 1\n", None, None, "outside", refuses=True),
    Case("no-section", "%k: 1\n", None, None, "outside", refuses=True),
    Case("rules", "[OPTIONS]\n[RULES]\n%k: 1\n", None, None, "misplaced", refuses=True),
    Case("two", "[OPTIONS]\n%k: 2\n", None, None, "value", refuses=True),
    Case("quoted", '[OPTIONS]\n%k: "1"\n', None, None, "value", refuses=True),
    Case("semicolon", "[OPTIONS]\n%k: 1\n; a comment\n", None, None, "colon", refuses=True),
    Case("level", "[OPTIONS]\nlog_level_in: INFO\n", "info", None, "value", refuses=True),
    Case("unknown", "[OPTIONS]\npolicy_in: DROP\n", None, None, "unknown"),
    Case("utf8", "[OPTIONS]\n\ufffd: 1\n", None, None, "utf8", refuses=True),
]


@pytest.mark.parametrize("case", TABLE, ids=[f"proxmox-1-{case.id}" for case in TABLE])
def test_a_line_of_host_fw(case: Case) -> None:
    text = case.text.replace("%k", KEY).replace("%K", KEY.upper())
    number = len(text.rstrip("\n").split("\n"))
    found = {line.line: line for line in fwfile.compare(FILE, text, HOST)}
    if not case.why:
        assert found == {}
        assert fwfile.perl(text).options == fwfile.rust(text).options == {KEY: "1"}
        return
    line = found[number]
    assert (line.file, line.perl, line.rust, line.why) == (FILE, case.perl, case.rust, case.why)
    assert line.refuses is case.refuses
    assert fwfile.rust(text).refused is case.refuses
    assert line.text == text.rstrip("\n").split("\n")[-1].strip()
    assert line.key == (KEY if KEY in text.rstrip("\n").split("\n")[-1].lower() else line.key)


def test_a_byte_order_mark_is_named_where_it_stands() -> None:
    found = fwfile.compare(FILE, f"\ufeff[OPTIONS]\n{KEY}: 1\n", HOST)
    assert [(line.line, line.why) for line in found] == [(1, "bom"), (2, "outside")]


def test_a_line_that_refuses_does_not_hide_what_becomes_of_the_others() -> None:
    found = fwfile.compare(FILE, f"[OPTIONS]\n{KEY}: yes\nndp = 1\ntcpflags: 1\n", HOST)
    assert [(line.line, line.perl, line.rust, line.refuses) for line in found] == [
        (2, None, "1", False),
        (3, None, None, True),
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[OPTIONS]\nenable: 1\npolicy_in: drop\n[RULES]\n\nIN SSH(ACCEPT) -i vmbr0 # admins\nGROUP web\n", {}),
        ("[OPTIONS]\nenable: 1700000000\n", {2: ("1700000000", None, True)}),
        ("[OPTIONS]\nebtables: 1\nlog_ratelimit: enable=1,burst=9\n", {}),
        ("[OPTIONS]\nnftables: 1\n", {2: (None, None, False)}),
        (
            "[aliases]\nvip 10.0.0.100 # comment\n[IPSET vips] # comment\n10.0.0.1\n!10.0.0.2\n[group w]\nIN ACCEPT\n",
            {},
        ),
        ("[ipset vips]\n10.0.0.1\n", {1: (None, None, True)}),
        ("[GROUP web]\nIN ACCEPT\n", {1: (None, None, True)}),
        ("[RULES]\ngroup web\n", {2: (None, None, True)}),
    ],
)
def test_lines_of_cluster_fw(text: str, lines: dict[int, tuple[str | None, str | None, bool]]) -> None:
    found = fwfile.compare("/etc/pve/firewall/cluster.fw", text, CLUSTER)
    told = {line.line: (line.perl, line.rust, line.refuses) for line in found}
    assert {number: told.get(number) for number in lines} == lines
    assert bool(told) is bool(lines)


@pytest.mark.parametrize(
    ("text", "whys"),
    [
        ("[OPTIONS]\nenable: 1\nips: 1\nips_queues: 0:3\nipfilter: 1\n[IPSET ipfilter-net0]\n10.0.0.1\n", []),
        ("[OPTIONS]\nenable: 1 # on\n", ["comment"]),
        ("[OPTIONS]\nnosmurfs: 1\n", ["unknown"]),
        ("[RULES]\nFORWARD ACCEPT\n", ["rule"]),
        ("[RULES]\nIN ACCEPT bad\n", ["rule"]),
        ("[RULES]\n|OUT DROP -source 10.0.0.1 -p tcp -dport 80:90 # off\nIN ACCEPT\n", []),
        ("[group web]\nIN ACCEPT\n", ["section", "rule"]),
    ],
)
def test_lines_of_a_guest(text: str, whys: list[str]) -> None:
    assert [line.why for line in fwfile.compare("/etc/pve/firewall/101.fw", text, GUEST)] == whys


TOP = Path(__file__).resolve().parents[2]


def test_the_page_and_the_tests_have_the_same_lines() -> None:
    page = (TOP / "docs/proxmox.md").read_text(encoding="utf-8")
    table = page.partition("## One line, two readers (1)")[2].partition("\n## ")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| ")][2:]
    told = {name.strip() for row in rows for name in row[4].split(",")}
    assert told - {"bom"} <= {case.id for case in TABLE}
    assert {case.id for case in TABLE} - told <= {"crlf-value", "boolean-true", "unknown", "utf8", "bom"}


@pytest.mark.parametrize("number", range(1, 10))
def test_each_decision_has_a_case_of_its_number(number: int) -> None:
    files = [*(TOP / "tests").glob("checks/*/*.toml"), *(TOP / "tests").rglob("test_*proxmox*.py")]
    assert any(f"proxmox-0.{number}" in file.read_text(encoding="utf-8") for file in files)
