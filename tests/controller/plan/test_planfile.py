"""The plan's file: whole or not at all, private, and nothing else is taken for one."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from hostaudit.facts import digest
from hostaudit.model import Declined, KnobChange, Plan, PlannedChange
from hostaudit.planfile import PlanFileError, encode, load, save


@pytest.fixture
def plan(planned, dropper, host):
    made = planned(dropper("pve1"), dropper("pve2"), host("h", "noroot"))
    assert made.changes
    assert made.declined
    return made


@pytest.fixture
def file(plan, tmp_path):
    path = tmp_path / "plan.json"
    save(path, plan)
    return path


def test_what_is_written_is_what_is_read(file, plan):
    assert load(file) == plan
    assert file.stat().st_mode & 0o777 == 0o600
    assert [f.name for f in file.parent.iterdir()] == ["plan.json"]


def test_the_document_begins_with_its_schema_and_ends_with_its_digest(file):
    document = json.loads(file.read_text())
    assert list(document) == [
        *("schema", "id", "created", "version", "run", "inventory", "limit", "changes", "declined", "sha256"),
    ]
    assert document["schema"] == "hostaudit.plan/1"
    digested = {key: value for key, value in document.items() if key != "sha256"}
    assert document["sha256"] == digest(digested)


def test_equal_plans_are_equal_files(plan, file):
    assert encode(plan) == encode(load(file)) == file.read_text()


def test_it_is_ascii_whatever_a_host_said(tmp_path):
    odd = Plan("p\u202e", "", "", "", ("\ud800",), "", (), ())
    save(tmp_path / "p", odd)
    (tmp_path / "p").read_bytes().decode("ascii")
    assert load(tmp_path / "p") == odd


def test_a_plan_takes_the_place_of_the_one_before(file, plan):
    file.chmod(0o644)
    save(file, plan)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["/proc/nope/p.json", "/dev/full/p.json"])
def test_a_place_that_cannot_be_written(plan, place):
    with pytest.raises(PlanFileError, match=f"{place}: the plan cannot be written: "):
        save(Path(place), plan)


def test_a_write_that_fails_leaves_the_old_plan(file, plan, monkeypatch):
    before = file.read_text()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PlanFileError, match="No space left"):
        save(file, plan)
    assert file.read_text() == before
    assert [f.name for f in file.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"nf_conntrack_allow_invalid": 1', '"nf_conntrack_allow_invalid": 0'),
        ('"host": "pve1"', '"host": "pve9"'),
        ('"seconds": 58', '"seconds": 1'),
        ('"sha256": "', '"sha256": "0'),
        ('"limit": ""', '"limit": "all", "extra": 1'),
        ('"version": "0.1.0",', ""),
    ],
)
def test_an_edited_plan_is_refused(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(PlanFileError, match=r"changed since it was made|not as `hostaudit plan` writes it") as refusal:
        load(file)
    assert str(file) in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_without_its_digest_it_is_refused(file):
    document = json.loads(file.read_text())
    del document["sha256"]
    file.write_text(json.dumps(document))
    with pytest.raises(PlanFileError, match="changed since it was made"):
        load(file)


def test_other_layout_is_no_edit(file, plan):
    file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True))
    assert load(file) == plan


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_plan_in_part_is_refused(file, share):
    text = file.read_text()
    file.write_text(text[: int(len(text) * share)])
    with pytest.raises(PlanFileError, match="not a plan, not even JSON"):
        load(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not even JSON"),
        ("\x00\x01", "not even JSON"),
        ("[" * 100000, "not even JSON"),
        ("[]", r"not a plan \('no schema'\)"),
        ("null", "not a plan"),
        ("{}", "not a plan"),
        ('{"schema": 7}', r"not a plan \('7'\)"),
        ('{"schema": "hostaudit.run/1"}', "is the result of `hostaudit run`, not a plan; make one with"),
        ('{"schema": "hostaudit.answers/1"}', "is answers kept with --save, not a plan; .*--from FILE -o PLAN"),
        ('{"schema": "hostaudit.plan/2"}', "has schema 'hostaudit.plan/2', this version reads 'hostaudit.plan/1'"),
        ('{"schema": "hostaudit.plan/1"}', "not as `hostaudit plan` writes it: .*missing required field"),
        ('{"schema": "hostaudit.plan/1", "id": NaN}', "not as `hostaudit plan` writes it"),
        ('{"schema": "hostaudit.plan/1", "changes": "x"}', "not as `hostaudit plan` writes it"),
        ("- hosts: all\n", "not even JSON"),
    ],
)
def test_what_is_no_plan(tmp_path, text, says):
    file = tmp_path / "x"
    file.write_text(text)
    with pytest.raises(PlanFileError, match=says) as refusal:
        load(file)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "says"), [("gone", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read(tmp_path, name, says):
    with pytest.raises(PlanFileError, match=says):
        load(tmp_path / name)


def test_a_file_without_end_is_no_plan():
    with pytest.raises(PlanFileError, match="larger than 64 MiB"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize("kind", [Plan, PlannedChange, KnobChange, Declined])
def test_every_key_is_in_the_documentation(kind):
    page = (Path(__file__).resolve().parents[3] / "docs/plan.md").read_text(encoding="utf-8")
    schema = page.partition("## The file")[2]
    assert [f.name for f in dataclasses.fields(kind) if f'"{f.name}"' not in schema] == []
