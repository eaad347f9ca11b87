"""The catalogue holds every check, every claim of a row is true, and every row has a page that helps."""

import shlex
import subprocess
from pathlib import Path

import click
import pytest

from hostaudit.catalogue import DATA, EXPLAINED, LAB, explained, rows
from hostaudit.catalogue.pages import catalogue, markdown
from hostaudit.checks import all_checks
from hostaudit.cli import cli, main

TOP = Path(__file__).resolve().parent.parent.parent
ROWS = list(rows().values())


def test_every_check_is_in_the_catalogue():
    assert {name for name, row in rows().items() if row.checked} == set(all_checks())


@pytest.mark.parametrize("row", [r for r in ROWS if r.lab], ids=lambda r: r.id)
def test_a_lab_test_that_a_row_claims_is_there_and_names_its_check(row):
    for name in row.lab:
        file = TOP / "tests/lab" / name
        assert file.is_file()
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if row.id in line]
        assert [line for line in lines if "== []" not in line], "to see it gone is not to see it named"


@pytest.mark.parametrize("row", [r for r in ROWS if r.checked], ids=lambda r: r.id)
def test_every_check_has_data_cases_whether_a_lab_test_makes_its_fault_or_not(row):
    assert list((TOP / "tests/checks" / row.id).glob("*.toml"))


@pytest.mark.parametrize("row", explained().values(), ids=lambda r: r.id)
def test_an_explained_row_says_why_and_what_to_run_and_what_ends_it(row):
    assert row.title.endswith(".")
    for text in (row.why, row.see, row.ends):
        assert len(text) > 10
    for heading in row.sections:
        assert f"## {heading}" in markdown(row)
    syntax = subprocess.run(["bash", "-n", "-c", row.see], capture_output=True, text=True, check=False)
    assert syntax.returncode == 0, syntax.stderr


COMMANDS = [line for row in explained().values() for line in row.see.splitlines() if line.startswith("hostaudit ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_ours_that_a_page_tells_to_run_has_these_options(line):
    command: click.Command = cli
    words = shlex.split(line.partition("   #")[0])
    context = click.Context(cli, info_name=words.pop(0))
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(words)


def test_pages_tell_to_run_what_sends_packets_where_a_run_does_not():
    assert {line.split()[1] for line in COMMANDS} >= {"run", "probe", "trace", "paths", "drift"}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_what_a_row_refers_to_is_in_the_catalogue(row):
    words = f"{row.why} {row.see} {row.ends}".split("`")[1::2]
    prefixes = (
        "cilium-",
        "conntrack-",
        "vip-",
        "dns-",
        "mtu-",
        "mss-",
        "icmp-",
        "tcp-",
        "kube-proxy-",
        "node-",
        "oom-",
    )
    known = {*rows(), "cilium-config"}
    assert [w for w in words if w.startswith(prefixes) and " " not in w and w not in known] == []


def test_the_page_is_up_to_date_and_its_counts_add_up():
    text = (TOP / "docs/catalogue.md").read_text(encoding="utf-8")
    assert text == catalogue(), "run `make docs`"
    by = {status: sum(r.status == status for r in ROWS) for status in (LAB, DATA, EXPLAINED)}
    assert f"{len(ROWS)} ways" in text
    assert sum(by.values()) == len(ROWS)


def test_explain_finds_what_no_check_sees(capsys):
    name = next(iter(explained()))
    assert main(["explain", name]) == 0
    assert "What to run" in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert name in capsys.readouterr().out.partition("Explained only")[2]
