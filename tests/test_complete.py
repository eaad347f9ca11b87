"""What a new check has to bring along, so that nobody has to remember it."""

from __future__ import annotations

import importlib
import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostaudit.catalogue import explained
from hostaudit.checks import HEADINGS, Check, all_checks
from hostaudit.checks._page import page, readme_table, sections
from hostaudit.model import Severity
from hostaudit.policy import parse
from hostaudit_agent.snapshot import SURFACES

TOP = Path(__file__).resolve().parent.parent
CHECKS = all_checks()
EXAMPLE = TOP / "hostaudit.example.toml"
LONGEST_CODE = 100
"""Lines of a check below its docstring; what is longer wants a helper module."""


@pytest.fixture(params=CHECKS.values(), ids=list(CHECKS))
def check(request: pytest.FixtureRequest) -> Check:
    found = request.param
    assert isinstance(found, Check)
    return found


def source(check: Check) -> Path:
    return TOP / "src/hostaudit/checks" / f"{check.id.replace('-', '_')}.py"


def cases(check: Check) -> list[dict[str, Any]]:
    files = sorted((TOP / "tests/checks" / check.id).glob("*.toml"))
    return [case for file in files for case in tomllib.loads(file.read_text(encoding="utf-8"))["case"]]


def test_every_file_is_a_check() -> None:
    files = {f.stem.replace("_", "-") for f in (TOP / "src/hostaudit/checks").glob("[a-z]*.py")}
    assert files == set(CHECKS)


def test_its_title_is_a_plain_statement(check: Check) -> None:
    assert check.title.endswith(".")
    assert check.title[0].isupper()
    assert len(check.title) <= 100


def test_its_docstring_has_every_heading_in_order(check: Check) -> None:
    found = sections(check)
    assert tuple(found) == HEADINGS
    assert all(found.values()), [heading for heading, text in found.items() if not text]
    assert all(line.startswith("https://") for line in found["References"].splitlines())


def test_it_declares_what_it_reads(check: Check) -> None:
    assert check.reads
    assert set(check.reads) <= {*SURFACES, *(["probes"] if check.fleet else [])}
    assert check.severity is not Severity.INFO


def test_its_thresholds_are_explained_on_its_page(check: Check) -> None:
    for name in check.thresholds:
        assert f"``{name}``" in check.doc, name


def test_it_has_cases_for_pass_fail_and_unknown(check: Check) -> None:
    statuses = {case["expect"]["status"] for case in cases(check)}
    assert statuses >= {"pass", "fail", "unknown"}
    code = source(check).read_text(encoding="utf-8").replace(check.doc, "")
    assert "n/a" in statuses or "not_applicable(" not in code


def test_it_has_a_case_for_each_grade_and_remedy_that_it_can_give(check: Check) -> None:
    code = source(check).read_text(encoding="utf-8").replace(check.doc, "")
    failures = [case["expect"] for case in cases(check) if case["expect"]["status"] == "fail"]
    grades = {expect.get("grade") for expect in failures}
    for name in ("active", "risk"):
        assert name in grades or f"Grade.{name.upper()}" not in code, name
    assert any(isinstance(expect.get("remedy"), dict) for expect in failures) or "remedy=" not in code


def test_its_remedies_are_roles_with_these_variables(check: Check) -> None:
    """The type of each variable is what the role's argument specs ask for."""
    types = {"int": int, "dict": dict, "list": list, "bool": bool, "str": str}
    for case in cases(check):
        remedy = case["expect"].get("remedy")
        if not isinstance(remedy, dict):
            continue
        specs = TOP / "playbooks/roles" / remedy["role"] / "meta/argument_specs.yml"
        options = yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
        for name, value in remedy.items():
            assert name == "role" or isinstance(value, types[options[name]["type"]]), f"{remedy['role']}: {name}"


def test_names_of_its_cases_are_unique(check: Check) -> None:
    names = [case["name"] for case in cases(check)]
    assert len(names) == len(set(names))


def test_its_file_is_short(check: Check) -> None:
    text = source(check).read_text(encoding="utf-8")
    code = text.rpartition(check.doc)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= LONGEST_CODE
    assert len(text.splitlines()) <= 250


def test_its_page_is_up_to_date(check: Check) -> None:
    file = TOP / "docs/checks" / f"{check.id}.md"
    assert file.exists(), "run `make docs`"
    assert file.read_text(encoding="utf-8") == page(check), "run `make docs`"


def test_no_page_is_left_over() -> None:
    assert {f.stem for f in (TOP / "docs/checks").glob("*.md")} == {*CHECKS, *explained()}, "run `make docs`"


def test_the_readme_has_the_table_of_checks() -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    between = readme.partition("<!-- checks -->")[2].partition("<!-- /checks -->")[0]
    assert between.strip() == readme_table().strip(), "run `make docs`"


def test_the_example_policy_holds_every_threshold_with_its_default() -> None:
    known = {check.id: check.thresholds for check in CHECKS.values()}
    policy = parse(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")), known)
    assert policy.thresholds == {name: dict(values) for name, values in known.items() if values}
    assert (policy.off, policy.profile, policy.waivers) == ({}, "default", ())


def test_the_example_policy_explains_every_threshold() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if "=" in line and not line.startswith("#") and not before.startswith("#")
    ]
    assert bare == []


def test_the_example_policy_gives_the_source_of_every_threshold() -> None:
    """``# Source:`` stands right above it: an alert rule somebody published, or an own choice and its reason."""
    lines = EXAMPLE.read_text(encoding="utf-8").partition("\n[checks.")[2].splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if "=" in line and not line.startswith("#") and not before.startswith("# Source: ")
    ]
    assert bare == []


def test_helpers_of_checks_register_nothing() -> None:
    for file in (TOP / "src/hostaudit/checks").glob("_[a-z]*.py"):
        importlib.import_module(f"hostaudit.checks.{file.stem}")
    assert not [name for name in all_checks() if name.startswith("-")]
