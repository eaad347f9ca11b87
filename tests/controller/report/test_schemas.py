"""What is printed is as docs/schema says, the schemas are not so loose that anything is, and JSON comes back whole."""

import io
import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import samples

from hostaudit import planfile, report
from hostaudit.errors import UsageError
from hostaudit.model import Declined, KnobChange, Plan, PlannedChange, Status
from hostaudit.report._document import load, load_context

TOP = Path(__file__).resolve().parents[3]
EVERYTHING = report.Style(show=frozenset(Status))
RUNS = pytest.mark.parametrize(
    "run", [samples.forty(), samples.hostile(), samples.run_of([], [])], ids=["forty", "hostile", "empty"]
)


def text(name, run):
    out = io.StringIO()
    report.render(name, run, out, EVERYTHING)
    return out.getvalue()


def validator(name):
    schema = json.loads((TOP / "docs/schema" / f"{name}.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@RUNS
def test_a_run_is_as_its_schema_says(run):
    validator("run").validate(json.loads(text("json", run)))


@RUNS
def test_each_line_is_as_its_schema_says(run):
    lines = validator("lines")
    for one in text("ndjson", run).splitlines():
        lines.validate(json.loads(one))


@pytest.mark.parametrize("context", [samples.everything(), samples.hostile_context()], ids=["all", "hostile"])
def test_a_context_is_as_its_schema_says_and_comes_back(tmp_path, context):
    file = tmp_path / "context.json"
    file.write_bytes(msgspec.json.encode(context))
    validator("context").validate(json.loads(file.read_bytes()))
    if context == samples.everything():
        assert load_context(file) == context


def test_a_plan_is_as_its_schema_says():
    change = PlannedChange(
        "pve1/sysctl", "pve1", "pve", ("sysctl-drift",), "", "sysctl", {"a": 1}, (KnobChange("k", "1", None, "2"),),
        30, 30, "none", "k is 2", {"sysctl.k": "0" * 64},
    )  # fmt: skip
    declined = (Declined("pve1", "mtu-mismatch", "nobody's", ""),)
    plan = Plan("id", "2026-01-01T00:00:00Z", "0.1.0", "run", ("inv",), "", (change,), declined)
    document = json.loads(planfile.encode(plan))
    validator("plan").validate(document)
    del document["sha256"]
    assert not validator("plan").is_valid(document)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), "hostaudit.run/2"),
        (("findings", 0, "status"), "failed"),
        (("findings", 0, "severity"), "awful"),
        (("findings", 0, "evidence"), None),
        (("hosts", 0, "collect_seconds"), "4"),
        (("counts", "fail"), "many"),
    ],
)
def test_the_schema_refuses_what_is_not_so(where, value):
    document = json.loads(text("json", samples.forty()))
    place = document
    for key in where[:-1]:
        place = place[key]
    assert where[-1] in place or isinstance(where[-1], int)
    place[where[-1]] = value
    assert not validator("run").is_valid(document)


def test_a_finding_without_a_host_is_refused():
    document = json.loads(text("json", samples.forty()))
    del document["findings"][0]["host"]
    assert not validator("run").is_valid(document)


def test_a_run_comes_back_whole(tmp_path):
    run = samples.forty()
    file = tmp_path / "run.json"
    file.write_text(text("json", run))
    assert load(file) == run
    assert text("json", load(file)) == text("json", run)


def test_a_hostile_document_cannot_act_on_a_terminal(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(text("json", samples.hostile()))
    shown = text("table", load(file))
    assert not [c for c in shown if c != "\n" and (ord(c) < 32 or c in "\u202e\u2066\u200b\x7f")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not as"),
        ("[]", "Expected `object`"),
        ("{", "not as"),
        ('{"schema": "hostaudit.plan/1"}', "has schema 'hostaudit.plan/1', 'hostaudit.run/1' is wanted"),
        ('{"schema": "hostaudit.run/1"}', "missing required field"),
        ("[" * 100_000, "not as"),
        (b"\xff\xfe", "not as"),
    ],
)
def test_what_is_no_run_is_refused_with_the_file_and_the_reason(tmp_path, content, said):
    file = tmp_path / "x.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as problem:
        load(file)
    assert str(problem.value).startswith(str(file))
    assert said in str(problem.value)
