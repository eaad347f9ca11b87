"""What the collection says of itself is true, and says it once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
BOOKS = TOP / "playbooks"
ROLES = sorted(f.parent.parent.name for f in BOOKS.glob("roles/*/meta/argument_specs.yml"))


def load(file: str) -> Any:
    return yaml.safe_load((BOOKS / file).read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"][
        "options"
    ]
    return found


def test_every_directory_is_a_role_with_argument_specs() -> None:
    assert sorted(d.name for d in (BOOKS / "roles").iterdir() if d.is_dir()) == ROLES


def test_the_version_has_its_entry_in_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (BOOKS / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == load("galaxy.yml")["version"]


def test_it_depends_on_nothing_but_ansible_core() -> None:
    assert load("galaxy.yml")["dependencies"] == {}
    used = set()
    for file in BOOKS.rglob("*.yml"):
        used |= set(
            re.findall(r"^\s*(?:- )?([a-z]\w+\.[a-z]\w+)\.[a-z_]+:", file.read_text(encoding="utf-8"), re.MULTILINE)
        )
    assert used == {"ansible.builtin"}


@pytest.mark.parametrize("role", ROLES)
def test_the_oldest_ansible_core_is_the_same_everywhere(role: str) -> None:
    oldest = str(load("meta/runtime.yml")["requires_ansible"]).removeprefix(">=")
    assert load(f"roles/{role}/meta/main.yml")["galaxy_info"]["min_ansible_version"] == oldest.removesuffix(".0")
    assert f"ansible-core {oldest.removesuffix('.0')}" in (BOOKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    defaults = load(f"roles/{role}/defaults/main.yml") or {}
    specs = {name: option.get("default") for name, option in options(role).items()}
    assert defaults == specs
    assert all(name.startswith(f"{role}_") for name in specs)


@pytest.mark.parametrize("role", ROLES)
def test_its_readme_has_an_example_that_its_specs_accept(role: str) -> None:
    readme = (BOOKS / f"roles/{role}/README.md").read_text(encoding="utf-8")
    assert f"](roles/{role}/README.md)" in (BOOKS / "README.md").read_text(encoding="utf-8")
    for heading in ("## Variables", "## Example", "## Undo"):
        assert heading in readme
    used = set(re.findall(rf"^\s*(?:vars: )?\{{?({role}_\w+):", readme.partition("## Example")[2], re.MULTILINE))
    assert used <= set(options(role)), "the example uses a variable that does not exist"
    assert used


def test_the_objects_for_awx_ask_for_what_exists() -> None:
    place = TOP / "examples/awx"
    survey = json.loads((place / "survey.json").read_text(encoding="utf-8"))
    questions = {question["variable"]: question for question in survey["spec"]}
    book = (BOOKS / "remediate.yml").read_text(encoding="utf-8")
    assert all(name in book for name in questions)
    assert questions["hostaudit_roles"]["choices"] == [r for r in ROLES if r not in {"agent", "guard"}]
    for file, kind in (("job-template.json", "run"), ("job-template-check.json", "check")):
        template = json.loads((place / file).read_text(encoding="utf-8"))
        assert template["job_type"] == kind
        assert f"`{template['playbook']}`" in (TOP / "docs/awx.md").read_text(encoding="utf-8")
        assert all(name in book for name in json.loads(template["extra_vars"]))
