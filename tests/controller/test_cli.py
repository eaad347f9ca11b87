"""The command as its users see it: what it says, where, and with which exit code. No host is read here."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from hostaudit.archive import load, save
from hostaudit.cli import COMMANDS, cli, main
from hostaudit.commands.run import exit_code
from hostaudit.evaluate import BUG
from hostaudit.model import Collected, Finding, Grade, Host, HostReport, Run, Severity, Status, Unreachable
from hostaudit_agent.snapshot import Platform, Snapshot

HOST = Host("web1", ("web",), {"ansible_password": "hunter2", "hostaudit_asymmetric": "DSR"})
SNAPSHOT = Snapshot("0.1.0", 1.0, 3.0, privileged=True, platform=Platform("web1", "6.1.0"))


@pytest.fixture
def answers(tmp_path):
    file = tmp_path / "answers.json"
    gone = Unreachable(Host("dead"), "timeout", "no answer within 10 s")
    save(file, [Collected(HOST, SNAPSHOT, 0.4), gone], datetime(2026, 1, 1, tzinfo=UTC))
    return file


def test_help_lists_every_command_with_the_words_of_its_own_help():
    for name in COMMANDS:
        command = cli.get_command(None, name)
        assert command.help
        assert cli.get_command(None, name).name == name
    assert cli.get_command(None, "no-such") is None


def test_help_imports_nothing_heavy():
    code = (
        "import sys, hostaudit.cli; sys.exit(bool({'fabric', 'msgspec', 'rich', 'ansible_runner'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such"], "No such command 'no-such'"),
        (["run", "--interval", "-1"], "--interval"),
        (["run", "--from", "/no/such/file"], "/no/such/file"),
        (["run", "--format", "yaml"], "--format yaml: not known; there are html, json, junit, markdown, nagios,"),
        (["run", "--only", "no-such"], "--only no-such: no such check"),
        (["explain", "conntrack-invalid-drp"], "Did you mean conntrack-invalid-drop?"),
    ],
)
def test_a_usage_error_is_one_sentence_on_stderr_and_exit_code_2(arguments, says, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert not out
    assert "Traceback" not in err


def test_a_bad_policy_file_is_named(answers, tmp_path, capsys):
    policy = tmp_path / "site.toml"
    policy.write_text("[checks\n")
    assert main(["run", "--from", str(answers), "--policy", str(policy)]) == 2
    assert f"{policy}: not valid TOML" in capsys.readouterr().err


def test_a_policy_in_the_working_directory_is_used(answers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostaudit.toml").write_text("[checks.no-such]\n")
    assert main(["run", "--from", str(answers)]) == 2
    assert "hostaudit.toml:1: [checks.no-such]: no such check" in capsys.readouterr().err


def test_kept_answers_are_judged_again_without_a_host(answers, capsys):
    assert main(["run", "--from", str(answers), "--format", "json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [(h["name"], h["status"]) for h in document["hosts"]] == [("dead", "unreachable"), ("web1", "ok")]
    assert document["started"] == "2026-01-01T00:00:00Z"


def test_every_option_is_a_variable(answers, capsys, monkeypatch):
    monkeypatch.setenv("HOSTAUDIT_FORMAT", "json")
    monkeypatch.setenv("HOSTAUDIT_FROM", str(answers))
    assert main(["run"]) == 4
    json.loads(capsys.readouterr().out)


def test_what_is_kept_has_no_secret_and_is_private(answers):
    assert "hunter2" not in answers.read_text()
    assert answers.stat().st_mode & 0o777 == 0o600
    kept, _ = load(answers)
    assert kept[0].host.asymmetric == "DSR"
    assert kept[0].snapshot == SNAPSHOT


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "hostaudit.answers/9"}', "\x00", "[]"])
def test_a_file_that_is_no_answers_file_is_refused(tmp_path, text, capsys):
    file = tmp_path / "x.json"
    file.write_text(text)
    assert main(["run", "--from", str(file)]) == 2
    assert f"--from {file}" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/proc/nope/x.json", "/dev/full/x.json", "/proc/x.json"])
def test_a_place_that_cannot_be_written_is_named(answers, place, capsys):
    assert main(["run", "--from", str(answers), "--save", place]) == 2
    assert f"--save {place}: cannot be written" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_failure(answers):
    command = f"{sys.executable} -m hostaudit run --from {answers} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() in ("0", "4")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("status", "grade", "severity", "fail_on", "code"),
    [
        (Status.FAIL, Grade.RISK, Severity.LOW, "low", 8),
        (Status.FAIL, Grade.RISK, Severity.INFO, "low", 0),
        (Status.FAIL, Grade.RISK, Severity.CRITICAL, "active", 0),
        (Status.FAIL, Grade.ACTIVE, Severity.INFO, "active", 8),
        (Status.FAIL, Grade.ACTIVE, Severity.CRITICAL, "never", 0),
        (Status.UNKNOWN, None, Severity.INFO, "info", 0),
        (Status.PASS, None, Severity.INFO, "info", 0),
    ],
)
def test_exit_codes(status, grade, severity, fail_on, code):
    finding = Finding(status, "s", grade=grade, severity=severity)

    def of(*hosts):
        return exit_code(Run("i", "s", "f", "v", hosts, (finding,), {}), fail_on)

    assert of(HostReport("a", "ok")) == code
    assert of(HostReport("a", "partial")) == code
    assert of(HostReport("a", "ok"), HostReport("b", "unreachable")) == code | 4


def test_a_check_that_failed_itself_sets_the_lowest_bit():
    finding = Finding(Status.UNKNOWN, "a bug in this check", evidence={BUG: "KeyError"})
    assert exit_code(Run("i", "s", "f", "v", (), (finding,), {}), "low") == 1
