"""Reports as their readers take them: schemas of others, node_exporter, promtool. `make consumers` fetches these."""

import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import samples
import xmlschema

from hostaudit import report
from hostaudit.bundle import build
from hostaudit.model import Status
from hostaudit.report._files import Target, write
from hostaudit_agent.ring import metrics

KEPT = Path(sys.prefix) / "consumers"
EXPORTER = "/usr/bin/prometheus-node-exporter"
RUNS = pytest.mark.parametrize(
    "run", [samples.forty(), samples.hostile(), samples.run_of([], [])], ids=["forty", "hostile", "empty"]
)
pytestmark = pytest.mark.consumers


def text(name, run):
    out = io.StringIO()
    report.render(name, run, out, report.Style(show=frozenset(Status)), samples.hostile_context())
    return out.getvalue()


@RUNS
def test_junit_is_valid_for_jenkins(run):
    xmlschema.XMLSchema(str(KEPT / "test/resources/jenkins-junit.xsd")).validate(text("junit", run))


@RUNS
def test_junit_is_valid_for_ant_but_for_skipped(run):
    root = ET.fromstring(text("junit", run))  # noqa: S314 - made here
    for suite in root:
        del suite.attrib["skipped"]
        for case in suite.findall("testcase"):
            for skipped in case.findall("skipped"):
                case.remove(skipped)
    xmlschema.XMLSchema(str(KEPT / "test/resources/JUnit.xsd")).validate(root)


@RUNS
def test_sarif_is_valid(run):
    schema = json.loads((KEPT / "lib/schemas/sarif-2.1.0-rtm.5.json").read_text("utf-8"))
    validator = jsonschema.validators.validator_for(schema)
    document = json.loads(text("sarif", run))
    validator(schema).validate(document)
    document["runs"][0]["results"] = [{"level": "awful"}]
    assert not validator(schema).is_valid(document)


def _exported(folder):
    """Return what node_exporter serves of the files in a folder, once it serves."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    exporter = subprocess.Popen(
        [
            EXPORTER,
            f"--web.listen-address=127.0.0.1:{port}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={folder}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                    return answer.read().decode()
            except OSError:
                time.sleep(0.1)
        raise AssertionError("node_exporter does not answer")
    finally:
        exporter.terminate()
        exporter.wait(30)


@RUNS
def test_node_exporter_takes_the_file(tmp_path, run):
    write([Target("prometheus", tmp_path / "hostaudit.prom")], run, report.Style(), print)
    served = _exported(tmp_path)
    assert "node_textfile_scrape_error 0" in served
    ours = {line for line in text("prometheus", run).splitlines() if not line.startswith("#")}
    got = [line for line in served.splitlines() if line.startswith("hostaudit_")]
    assert len(got) == len(ours)
    if run == samples.forty():
        assert 'hostaudit_host_audited{host="db05"} 0' in got


def test_node_exporter_would_say_what_is_wrong(tmp_path):
    (tmp_path / "x.prom").write_text('a{b="1"} 1\na{b="1"} 2\n')
    assert "node_textfile_scrape_error 1" in _exported(tmp_path)


def _promtool(metrics_text):
    """Return what `promtool check metrics` says: format, help texts, names, units. Nothing, where all is in order."""
    done = subprocess.run(
        [KEPT / "promtool", "check", "metrics"],
        check=False, input=metrics_text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
    )  # fmt: skip
    said = done.stdout.decode()
    assert bool(done.returncode) == bool(said), (done.returncode, said)
    return said


@RUNS
def test_promtool_has_nothing_to_say_about_a_run(run):
    assert _promtool(text("prometheus", run)) == ""


def test_promtool_has_nothing_to_say_about_the_installed_agent(tmp_path):
    """The file that the agent writes for this machine, and one with everything that it knows."""
    bundle = tmp_path / "agent.pyz"
    bundle.write_bytes(build())
    tick = [sys.executable, "-I", "-S", bundle, "ring", "--directory", tmp_path / "ring", "--textfile", tmp_path]
    for _ in range(2):
        subprocess.run(tick, check=True, timeout=60)
    assert _promtool((tmp_path / metrics.FILE).read_text()) == ""
    state = {"t": 1.5e9, "u": {"kmsg": "why"}, "c": [5, 100], "kk": {"oom-kill": 2}}
    state["r"] = {"nftables inet filter " + name: n for n, name in enumerate(samples.HOSTILE)}
    state["d"] = dict.fromkeys([*metrics.EVENTS, "conntrack.invalid"], 1 << 40)
    everything = metrics.text(state, 99)
    assert everything.count("# TYPE") == 10, "a family that is new: give it a value here"
    assert _promtool(everything) == ""


def test_promtool_would_say_what_is_wrong():
    assert _promtool("# TYPE a_total gauge\na_total 1\n")
    assert _promtool('a{b="\xff} 1\n')
