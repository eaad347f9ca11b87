"""``hostaudit probe`` on the outage's real packets: from the client itself, and from a host over SSH."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labkit import outage, probenet
from labkit.audit import HOSTAUDIT, run_hostaudit, write_inventory
from labkit.outage import PORT, sysctl
from labkit.probenet import CLIENT_NETNS, Lab
from labkit.settings import NET, sh

SILENT = "10.0.0.99"
"""Nobody has this address."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with probenet.running(tmp_path_factory.mktemp("probe") / "inventory.ini") as running:
        yield running


@pytest.fixture
def dropping(lab: Lab) -> Iterator[Lab]:
    for name in outage.HYPERVISORS:
        lab.net.drop(name)
    yield lab
    for name in outage.HYPERVISORS:
        lab.net.allow(name)


# ---- tcp


@pytest.mark.parametrize("here", [True, False], ids=["here", "over SSH"])
def test_in_the_outage_the_result_is_path_dependent_and_the_ports_are_named(dropping: Lab, *, here: bool) -> None:
    code, (series,) = dropping.tcp(dropping.vip, here=here)
    assert code == 8
    assert series["verdict"] == "path-dependent"
    assert series["vantage"] == ("here" if here else "c1")
    assert series["outcomes"] == {"ok": 10, "no-answer": 10}
    failed = {c["source_port"] % 2 for c in series["connections"] if c["outcome"] != "ok"}
    assert failed == {1}
    assert series["pattern"].startswith("all 10 from odd source ports fail, all 10 from even ones work")
    assert series["strip"] in (".x" * 10, "x." * 10)


def test_half_a_fix_is_seen_by_the_second_stage(dropping: Lab) -> None:
    """The SYN-ACK gets through, the client's ACK does not: every connect works, and half of them hang."""
    dropping.net.allow("h2")
    for words in ((), ("--send", "hi", "--expect", "w")):
        code, (series,) = dropping.tcp(dropping.vip, *words)
        assert (code, series["verdict"]) == (8, "path-dependent"), words
        assert series["outcomes"] == {"ok": 10, "silent": 10}
        assert all(c["connect_ms"] is not None for c in series["connections"])


def test_after_the_cure_all_is_well(lab: Lab) -> None:
    code, (series,) = lab.tcp(lab.vip, "--send", "hi", "--expect", "w", here=False)
    assert (code, series["verdict"], series["ok"]) == (0, "ok", 20)
    assert 0 < series["connect_ms"]["p50"] <= series["connect_ms"]["max"]


def test_down_is_not_path_dependent(lab: Lab) -> None:
    code, (refused, silent) = lab.tcp(f"{lab.net.vip}:1", f"{SILENT}:{PORT}")
    assert code == 8
    assert (refused["verdict"], refused["outcomes"]) == ("down", {"refused": 20})
    assert (silent["verdict"], silent["ok"]) == ("down", 0)


def test_every_address_of_a_name_is_tried_on_its_own(lab: Lab, tmp_path: Path) -> None:
    names = tmp_path / "hosts"
    names.write_text(f"{lab.net.vip} shop.example\n{SILENT} shop.example\n")
    with_names = ("unshare", "--mount", "sh", "-c", f'mount --bind {names} /etc/hosts; exec "$@"', "sh", *CLIENT_NETNS)
    words = ("tcp", f"shop.example:{PORT}", "--count", "8", "--every", "0.02", "--source-ports", lab.ports())
    code, document = lab.probe(*words, inside=with_names)
    assert code == 8
    assert {s["address"]: s["verdict"] for s in document["tcp"]} == {lab.net.vip: "ok", SILENT: "down"}


def test_the_inventory_names_the_target_and_a_vantage_point_that_is_lost_is_said(lab: Lab) -> None:
    """The client's namespace has no way to the management network: c1 cannot be reached from there."""
    words = (
        "tcp",
        "-i",
        str(lab.source),
        "--from",
        "here",
        "--from",
        "c1",
        "--count",
        "4",
        "--every",
        "0.02",
        "-T",
        "2",
    )
    command = [*CLIENT_NETNS, str(HOSTAUDIT), "probe", *words, "--source-ports", lab.ports()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert lab.vip in done.stdout
    assert "4/4" in done.stdout
    assert "from c1" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_two_vantage_points_and_two_targets_give_a_matrix(dropping: Lab) -> None:
    away = ("-i", str(dropping.source), "--from", "c1", "--from", "h1", "--source-ports", dropping.ports())
    command = [str(HOSTAUDIT), "probe", "tcp", dropping.vip, f"{dropping.net.vip}:1", "--count", "8", "--every", "0.02"]
    done = subprocess.run([*command, *away], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 8, done.stdout + done.stderr  # h1 has no address on that network: nothing answers it
    matrix = done.stdout.partition("all together")[2].splitlines()
    assert [line.split() for line in matrix[2:4]] == [["c1", "4/8", "0/8"], ["h1", "0/8", "0/8"]], done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_a_standing_probe_keeps_its_history_and_writes_metrics(lab: Lab, tmp_path: Path) -> None:
    history, metrics = tmp_path / "probe.ndjson", tmp_path / "probe.prom"
    words = (
        "--count",
        "4",
        "--every",
        "0.02",
        "--source-ports",
        lab.ports(),
        "--watch",
        "--pause",
        "1",
        "--rounds",
        "2",
    )
    command = [*CLIENT_NETNS, str(HOSTAUDIT), "probe", "tcp", lab.vip, *words, "--history", str(history)]
    done = subprocess.run(
        [*command, "--textfile", str(metrics)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in history.read_text().splitlines()]
    assert [one["tcp"][0]["verdict"] for one in rounds] == ["ok", "ok"]
    labels = f'{{kind="tcp",vantage="here",target="{lab.vip}",address="{lab.net.vip}"}}'
    assert f"hostaudit_probe_success_ratio{labels} 1" in metrics.read_text().splitlines()


# ---- arp


def arp(lab: Lab, *addresses: str) -> tuple[int, list[dict[str, Any]]]:
    code, document = lab.probe("arp", *addresses, "-i", str(lab.source), "--from", "c1", "--wait", "0.4", inside=())
    return code, document["arp"]


@contextmanager
def two_owners() -> Iterator[None]:
    """Let w2 answer ARP for the shared address beside w1.

    An answer refreshes an entry that the asking kernel has already (arp_process in net/ipv4/arp.c): c1 may believe w2
    from then on, and would reach it past h1, on a path that is symmetric. What it learned is thrown away.
    """
    sysctl("w2", {"net.ipv4.conf.all.arp_ignore": 0})
    try:
        yield
    finally:
        sysctl("w2", {"net.ipv4.conf.all.arp_ignore": 1})
        sh("ip", "-n", "c1", "neigh", "flush", "dev", "eth7")


def test_the_owner_of_the_address_answers(lab: Lab) -> None:
    code, (one,) = arp(lab)
    assert code == 0, one
    assert [owner["mac"] for owner in one["owners"]] == [mac("w1")]
    assert one["interface"] == "eth7"


def test_two_machines_that_answer_are_told(lab: Lab) -> None:
    with two_owners():
        code, (one,) = arp(lab, lab.net.vip)
    assert code == 8
    assert {owner["mac"] for owner in one["owners"]} == {mac("w1"), mac("w2")}


def test_nobody_answers_for_an_address_that_nobody_has(lab: Lab) -> None:
    code, (one,) = arp(lab, SILENT)
    assert (code, one["owners"], one["asked"]) == (8, [], 3)


def test_without_the_privilege_it_says_which_one(lab: Lab) -> None:
    without = (*CLIENT_NETNS, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    code, document = lab.probe("arp", lab.net.vip, inside=without)
    assert code == 4
    assert "CAP_NET_RAW" in document["arp"][0]["error"]


def mac(worker: str) -> str:
    link: list[dict[str, str]] = json.loads(sh("ip", "-n", worker, "-j", "link", "show", "ens18").stdout)
    return link[0]["address"]


# ---- with a run


def test_run_probes_what_the_inventory_declares(dropping: Lab, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    words = ("--probe", "--probe-from", "c1", "--reporter", f"html:{page}")
    result = run_hostaudit(dropping.source, *words, limit=180)
    (found,) = result.failures("vip-handshake-failing")
    assert found["grade"] == "active"
    assert found["hosts"] == ["c1"]
    assert "odd" in json.dumps(found["evidence"])
    matrix = page.read_text().partition('id="probes"')[2]
    assert "path-dependent" in matrix
    assert dropping.vip in matrix


def test_a_vantage_point_that_cannot_be_reached_is_unknown_and_never_a_pass(lab: Lab, tmp_path: Path) -> None:
    """Nobody has the address that h2 is said to have; c1 probes all the same."""
    declared = {"w1": {"hostaudit_vips": lab.vip}, "h2": {"ansible_host": f"{NET}.199", "ansible_timeout": "2"}}
    source = write_inventory(tmp_path / "inventory.ini", ("c1", "w1", "h2"), declared)
    words = ("--probe", "--probe-from", "c1", "--probe-from", "h2", "--show", "pass")
    result = run_hostaudit(source, *words, limit=180)
    found = {f["hosts"][0]: f for f in result.document["findings"] if f["check"] == "vip-handshake-failing"}
    assert {name: one["status"] for name, one in found.items()} == {"c1": "pass", "h2": "unknown"}
    assert found["h2"]["summary"].startswith(f"{lab.vip} could not be tried: ")
    assert f"{NET}.199" in found["h2"]["summary"]


def test_run_names_two_owners_and_an_address_without_one(lab: Lab, tmp_path: Path) -> None:
    declared = {"w1": {"hostaudit_vips": f"{lab.net.vip}:{PORT},{SILENT}"}}
    source = write_inventory(tmp_path / "inventory.ini", ("c1", "w1"), declared)
    with two_owners():
        result = run_hostaudit(source, "--probe", "--probe-from", "c1", limit=180)
    (two,) = result.failures("vip-arp-duplicate", "active")
    assert two["hosts"] == ["c1"]
    assert two["evidence"]["known"] == {mac("w1"): "w1 ens18"}, "w2 is no host of this inventory"
    assert mac("w2") in two["advice"]
    (none,) = result.failures("vip-arp-unanswered", "active")
    assert SILENT in none["summary"]
    assert result.failures("vip-handshake-failing") == []
