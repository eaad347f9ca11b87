"""``--reporter`` and ``hostaudit report``: which reports go where, and that a file appears whole or not at all."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import samples

from hostaudit import report
from hostaudit.cli import main
from hostaudit.errors import UsageError
from hostaudit.report._files import ReportError, Target, replace, targets, write
from hostaudit.report.page.context import NOTHING

TOP = Path(__file__).resolve().parents[3]
ANSWERS = str(TOP / "docs/outage.answers.json")


@pytest.fixture
def kept(tmp_path):
    out = io.StringIO()
    report.render("json", samples.forty(), out, report.Style(), NOTHING)
    file = tmp_path / "run.json"
    file.write_text(out.getvalue())
    return str(file)


@pytest.mark.parametrize(
    ("format_", "reporters", "stdout"),
    [
        (None, [], "table"),
        ("json", [], "json"),
        (None, ["nagios"], "nagios"),
        (None, ["nagios:-"], "nagios"),
        ("json", ["json"], "json"),
        ("json", ["nagios:x"], "json"),
        (None, ["nagios:x"], "table"),
    ],
)
def test_one_report_goes_to_stdout(format_, reporters, stdout):
    assert targets(format_, reporters)[0] == Target(stdout)


def test_nothing_goes_to_stdout_where_nothing_is_wanted_there():
    assert targets(None, ["html:x"], default=None) == [Target("html", Path("x"))]


@pytest.mark.parametrize(
    ("format_", "reporters", "said"),
    [
        (None, ["yaml"], "--reporter yaml: not known; there are html, json"),
        ("yaml", ["table"], "--format yaml: not known"),
        (None, ["html:"], "no file after the colon"),
        (None, ["table", "nagios"], "only one goes to stdout; write nagios:FILE"),
        ("json", ["table"], "only one goes to stdout; write table:FILE"),
        (None, ["html:/nowhere/x"], "there is no directory /nowhere; make it first"),
        (None, ["html:/tmp"], "is a directory"),
        (None, ["html:x", "junit:./x"], "--reporter junit:x: html goes there, too"),
    ],
)
def test_what_cannot_be_is_said_before_a_host_is_read(format_, reporters, said):
    with pytest.raises(UsageError, match="--") as problem:
        targets(format_, reporters)
    assert said in str(problem.value)


def test_a_run_makes_all_reports_and_keeps_its_exit_code(tmp_path, capsys):
    wanted = {name: tmp_path / f"out.{name}" for name in report.formats()}
    options = [part for name, file in wanted.items() for part in ("--reporter", f"{name}:{file}")]
    assert main(["run", "--from", ANSWERS, "--format", "nagios", *options]) == 8
    line = capsys.readouterr().out
    assert line.startswith("HOSTAUDIT CRITICAL - ")
    assert "active conntrack-invalid-drop on h2" in line
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in wanted.values()}
    assert json.loads(wanted["json"].read_text())["counts"]["active"] >= 1
    assert "\x1b" not in wanted["table"].read_text()


def test_a_file_that_cannot_be_written_stops_no_other(kept, tmp_path, capsys):
    good = tmp_path / "good.xml"
    code = main(["report", kept, "--reporter", "html:/proc/x.html", "--reporter", f"junit:{good}"])
    told = capsys.readouterr()
    assert code == 2
    assert "40 hosts: 38 ok" in told.out
    assert "--reporter html:/proc/x.html: cannot be written: " in told.err
    assert f"written all the same: stdout, {good}" in told.err
    assert good.read_text().startswith("<?xml")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import samples
from hostaudit import report
from hostaudit.report._files import Target, write
write([Target("html", Path({str(disk)!r}) / "a.html")], samples.hostile(), report.Style(), print)
"""
    inside = (
        f"mount -t tmpfs -o size=64k tmpfs {disk} && echo old > {disk}/a.html && "
        f'{sys.executable} -c "$1"; ls -A {disk}; cat {disk}/a.html'
    )
    if os.geteuid() != 0:
        pytest.skip("needs root: it fills a file system of its own")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside, "sh", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "No space left on device" in done.stderr
    assert done.stdout == "a.html\nold\n"


def test_the_mode_of_a_file_stays_and_a_new_one_follows_the_umask(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch(0o640)
    before = os.umask(0o022)
    try:
        replace(old, "a")
        replace(new, "b")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o644


def test_a_link_stays_a_link_and_a_pipe_is_written_to(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    replace(link, "text")
    assert link.is_symlink()
    assert file.read_text() == "text"
    replace(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_readers_see_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    file = tmp_path / "x.prom"
    file.write_text("old")
    seen = []
    monkeypatch.setattr(
        os, "fsync", lambda _: seen.append((file.read_text(), sorted(p.name for p in tmp_path.iterdir())))
    )
    replace(file, "new")
    ((text, names),) = seen
    assert text == "old"
    # node_exporter reads every *.prom of the folder
    assert [n for n in names if n.endswith(".prom")] == ["x.prom"]
    assert file.read_text() == "new"


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path):
    replace(tmp_path / "x", "inventory \udcff")
    assert (tmp_path / "x").read_bytes() == b"inventory \\udcff"


def test_write_names_every_file_that_failed():
    lost = [Target("html", Path("/proc/a")), Target("junit", Path("/proc/b"))]
    with pytest.raises(ReportError) as problem:
        write(lost, samples.run_of([], []), report.Style(), print)
    assert [text.partition(":")[2].partition(":")[0] for text in str(problem.value).splitlines()] == [
        "/proc/a",
        "/proc/b",
    ]


def test_report_writes_html_with_what_stands_beside_the_run(kept, tmp_path, capsys):
    import msgspec

    beside, page = tmp_path / "context.json", tmp_path / "a.html"
    beside.write_bytes(msgspec.json.encode(samples.everything()))
    assert main(["report", kept, "--context", str(beside), "--html", str(page)]) == 0
    assert capsys.readouterr().out == ""
    assert "nf_conntrack_allow_invalid 0 -&gt; 1" in page.read_text()


def test_report_of_something_else_is_a_sentence(capsys):
    assert main(["report", ANSWERS]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"hostaudit: {ANSWERS}: has schema 'hostaudit.answers/1'")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("options", "code", "begins"),
    [
        (["--from", ANSWERS, "--only", "conntrack-invalid-drop"], 2, "HOSTAUDIT CRITICAL - active conntrack-invalid"),
        (["--from", ANSWERS, "--only", "conntrack-table-full"], 0, "HOSTAUDIT OK - nothing found on 4 hosts | "),
        (["--only", "nope"], 3, "HOSTAUDIT UNKNOWN - exit code 2: hostaudit: --only nope: no such check"),
    ],
)
def test_the_plugin_exits_by_the_word_in_its_line(options, code, begins):
    plugin = TOP / "examples/nagios/check_hostaudit"
    program = str(Path(sys.executable).with_name("hostaudit"))
    environment = {**os.environ, "HOSTAUDIT": program}
    done = subprocess.run([plugin, *options], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(begins)
    assert done.stdout.count("\n") == 1


def test_a_run_of_the_history_is_shown_with_its_rates(tmp_path, monkeypatch, capsys):
    url = f"sqlite:///{tmp_path}/j.db"
    monkeypatch.setenv("HOSTAUDIT_JOURNAL", url)
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) != 0
    assert "there is no journal at" in capsys.readouterr().err

    from datetime import timedelta

    from hostaudit.archive import load
    from hostaudit.audit import Request, judged
    from hostaudit.commands.auditing import Audited
    from hostaudit.commands.storing import stored
    from hostaudit.history import History

    answers, started = load(Path(ANSWERS))
    with History.open(url) as history:
        for hours in range(3):
            at = started + timedelta(hours=hours)
            for number, answer in enumerate(answers):
                answer.snapshot.conntrack.count = 1000 * (hours + 1) + number
                answer.snapshot.conntrack.max = 4096
            stored(history, Audited(judged(answers, Request(), at), answers), "run")
    capsys.readouterr()
    assert main(["report", "--html", "a.html"]) == 0
    page = Path("a.html").read_text()
    assert 'id="time"' in page
    assert "conntrack use" in page
    assert main(["report", "last~2"]) == 0
    told = capsys.readouterr().out
    assert "OVER TIME" not in told  # one value is no course
    assert told.startswith(f"Run {started:%Y%m%dT%H%M%SZ}-"), "which run it is stands first"
    assert main(["report", "never"]) == 2
