"""``hostaudit plan`` as its users see it. Hosts are answers that were kept."""

import json
import socket
from datetime import UTC, datetime

import pytest

from hostaudit.archive import save
from hostaudit.cli import main
from hostaudit.model import Host, Unreachable
from hostaudit.planfile import load

VARIABLES = {"hostaudit_asymmetric": "DSR", "ansible_password": "hunter2"}
GONE = Unreachable(Host("pve3", ("hypervisors",)), "timeout", "no answer within 10 s", 10.0)


@pytest.fixture
def kept(tmp_path):
    def make(*answers):
        file = tmp_path / "answers.json"
        save(file, answers, datetime(2026, 1, 1, tzinfo=UTC))
        return str(file)

    return make


@pytest.fixture
def outage(kept, dropper, host):
    return kept(dropper("pve1"), dropper("pve2"), host("web1", "debian12", "web"))


def test_it_shows_the_plan_and_writes_it(outage, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", "--from", outage, "-o", str(file)]) == 0
    out, err = capsys.readouterr()
    for text in ("pve_firewall", "pve1, pve2", "now 0, configured not set  ->  1", "owner", "risk", "proof", "undo"):
        assert text in out
    assert f"hostaudit apply {file}" in out
    assert "2 changes on 2 hosts" in out
    assert not err
    plan = load(file)
    assert [change.host for change in plan.changes] == ["pve1", "pve2"]
    assert plan.run.startswith("20260101T000000Z-")
    assert plan.inventory == ()


def test_without_a_file_it_is_only_shown(outage, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert main(["plan", "--from", outage]) == 0
    assert "was not kept: -o FILE writes it" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def test_json_on_stdout_is_the_file(outage, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", "--from", outage, "-o", str(file), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert out == file.read_text()
    assert json.loads(out)["schema"] == "hostaudit.plan/1"
    assert f"the plan is in {file}" in err
    assert "hunter2" not in out


def test_nothing_to_do_is_exit_code_0_and_a_plan(kept, host, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", "--from", kept(host("web1", "debian12")), "-o", str(file)]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert load(file).changes == ()


def test_a_host_that_could_not_be_audited_is_exit_code_4_and_half_a_fix(kept, dropper, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", "--from", kept(dropper("pve1"), GONE), "-o", str(file)]) == 4
    out = capsys.readouterr().out
    assert out.startswith(" HALF A FIX")
    assert out.rstrip().endswith("HALF A FIX: pve3 may go on dropping; see the top.")
    assert len(load(file).changes) == 1


def test_only_one_check(kept, dropper, capsys):
    file = kept(dropper("pve1", conntrack={"count": 260000}))
    assert main(["plan", "--from", file, "--only", "conntrack-table-full", "--format", "json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["checks"] == ["conntrack-table-full"]
    assert list(change["vars"]["pve_firewall_options"]) == ["nf_conntrack_max"]


@pytest.mark.parametrize(
    ("limit", "hosts", "missing"),
    [
        ("pve1", ["pve1"], ["pve2"]),
        ("hypervisors:!pve1", ["pve2"], ["pve1"]),
        ("web", [], []),
        ("all", ["pve1", "pve2"], []),
    ],
)
def test_a_limit_is_ansibles_and_what_it_leaves_out_is_named(outage, capsys, limit, hosts, missing):
    assert main(["plan", "--from", outage, "-l", limit, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["limit"] == limit
    assert [change["host"] for change in document["changes"]] == hosts
    assert [one["host"] for one in document["declined"] if one["reason"].startswith("half a fix")] == missing


def test_a_limit_that_matches_nothing(outage, capsys):
    assert main(["plan", "--from", outage, "-l", "nosuch"]) == 2
    assert f"no host of {outage} matches --limit 'nosuch'" in capsys.readouterr().err


def test_run_takes_the_same_limit(outage, capsys):
    assert main(["run", "--from", outage, "-l", "web", "--format", "json"]) == 0
    assert [h["name"] for h in json.loads(capsys.readouterr().out)["hosts"]] == ["web1"]


def test_the_inventory_is_found_from_anywhere(outage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "--from", outage, "-i", "hosts.ini", "-i", "a,b", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["inventory"] == [str(tmp_path / "hosts.ini"), "a,b"]


def test_the_limit_of_a_live_audit_reads_no_other_host(dropper, tmp_path, monkeypatch, capsys):
    """The names of the others come from the inventory."""
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[hypervisors]\npve1\npve2\n[web]\nweb1\n")
    asked = []

    def collected(hosts, *_):
        asked.extend(host.name for host in hosts)
        return [dropper(host.name) for host in hosts]

    monkeypatch.setattr("hostaudit.audit.collected", collected)
    assert main(["plan", "-i", str(inventory), "-l", "pve1", "-q", "--format", "json"]) == 0
    assert asked == ["pve1"]
    document = json.loads(capsys.readouterr().out)
    assert [change["host"] for change in document["changes"]] == ["pve1"]
    (half,) = document["declined"]
    assert half["host"] == "pve2"
    assert "the limit leaves it out" in half["reason"]


def test_without_an_inventory_it_is_this_host_by_name(dropper, monkeypatch, capsys):
    asked = []

    def collected(hosts, *_):
        asked.extend(host.name for host in hosts)
        return [dropper(host.name) for host in hosts]

    monkeypatch.setattr("hostaudit.audit.collected", collected)
    monkeypatch.delenv("HOSTAUDIT_INVENTORY", raising=False)
    assert main(["plan", "-q", "--format", "json"]) == 0
    assert asked == [socket.gethostname()]
    assert [c["host"] for c in json.loads(capsys.readouterr().out)["changes"]] == asked
    assert main(["plan", "-l", "all"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "no-such"], "--only no-such: no such check"),
        (["--format", "yaml"], "'yaml' is not one of"),
        (["--from", "/no/such"], "/no/such"),
        (["-o", "/no/such/plan.json"], "/no/such/plan.json: there is no directory /no/such; make it first"),
        (["-o", "/"], "is a directory"),
    ],
)
def test_a_usage_error_is_one_sentence_and_exit_code_2(arguments, says, capsys):
    assert main(["plan", *arguments]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert not out
    assert "Traceback" not in err


def test_hosts_are_listed_and_nothing_else_happens(outage, tmp_path, capsys):
    assert main(["plan", "--from", outage, "--list-hosts", "-l", "hypervisors", "-o", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().out == "pve1\npve2\n"
    assert not (tmp_path / "p").exists()


# ---- what it looks like -----------------------------------------------------------------------------------------


@pytest.fixture
def everything(kept, dropper, host):
    """Return a fleet whose plan has every section."""
    full = host("node-with-a-name-that-is-rather-long", "kube", conntrack={"count": 250000, "max": 262144})
    return kept(dropper("pve1"), GONE, full, host("h", "noroot"))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal_or_ends_in_blanks(everything, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["plan", "--from", everything]) == 4
    lines = capsys.readouterr().out.splitlines()
    free = [line for line in lines if not line.startswith(("Plan ", "Nothing was changed"))]  # to be copied whole
    assert max(map(len, free)) <= width
    assert not [line for line in lines if line != line.rstrip()]


def test_hosts_with_the_same_change_are_one_block(outage, capsys):
    main(["plan", "--from", outage])
    assert capsys.readouterr().out.count(" CHANGE ") == 1
    main(["plan", "--from", outage, "-v"])
    out = capsys.readouterr().out
    assert out.count(" CHANGE ") == 2
    assert "platform.kernel: 6.14.11-4-pve" in out


def test_many_hosts_are_counted(kept, dropper, capsys):
    main(["plan", "--from", kept(*(dropper(f"pve{n:02}") for n in range(40)))])
    assert "and 29 more (-v names them)" in capsys.readouterr().out


def test_what_a_host_says_stays_text(kept, dropper, capsys):
    bad = dropper("pve1", platform={"proxmox": {"options": "<empty>", "ignored": ["\x1b[2Jhost.fw:3: [bold]x[/bold]"]}})
    main(["plan", "--from", kept(bad)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_no_colour_where_there_is_no_terminal(outage, capsys):
    main(["plan", "--from", outage])
    assert "\x1b[" not in capsys.readouterr().out
