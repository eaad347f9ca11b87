"""A narrow tunnel whose router's word about large packets is lost: the clamp is planned, made, seen, and taken back."""

import json
from pathlib import Path

import pytest
from labkit import hosts
from labkit.audit import run_hostaudit, write_inventory
from labkit.faults import QUICK
from labkit.hosts import Spec
from labkit.narrow import BLOCKS, build, last, sends
from labkit.plans import hostaudit

pytestmark = pytest.mark.long

CHECK = "mss-clamp-missing"
ONLY = ("--only", CHECK, "--interval", "4")
UNIT = "/etc/systemd/system/hostaudit-mss-clamp.service"


def test_a_clamp_is_planned_made_seen_and_taken_back(tmp_path: Path) -> None:
    journal, plan = tmp_path / "journal.db", tmp_path / "plan.json"
    with hosts.up({"r1": Spec("boot:bookworm")}):
        build()
        hosts.script("r1", BLOCKS["iptables-nft"][0])
        inventory = write_inventory(tmp_path / "inventory.ini", ["r1"])
        before = hosts.script("r1", "nft list tables; iptables-save -t mangle | grep -v '^#'")
        sends()
        made = hostaudit(journal, "plan", "-i", inventory, "-o", plan, *ONLY)
        assert made.code == 0, made.stderr
        (change,) = json.loads(plan.read_text())["changes"]
        assert (change["role"], change["vars"]) == ("mss_clamp", {"mss_clamp_interfaces": ["vx0"]})
        assert change["knobs"] == [{"knob": "mss vx0", "running": "none", "configured": None, "then": "pmtu"}]
        assert change["values"]["firewall.mss"] == []

        done = hostaudit(
            journal, "apply", plan, "-i", inventory, "--format", "json", "--reason", "downloads hang", *QUICK
        )
        assert (done.code, done.states) == (0, {"r1": "confirmed"}), done.stderr
        assert done.document["changes"][0]["hosts"][0]["knobs"] == {"mss vx0": ["none", "pmtu", "pmtu"]}
        sends()
        assert run_hostaudit(inventory, *ONLY).failures() == []
        assert last() == "done", "while ICMP stays blocked"
        stale = hostaudit(journal, "apply", plan, "-i", inventory, "--format", "json", *QUICK)
        assert stale.code == 16
        assert "r1: firewall.mss: was nothing, is nftables inet hostaudit_mss forward: " in stale.stderr

        back = hostaudit(journal, "rollback", done.change, "-i", inventory, "--format", "json", *QUICK[:-1])
        assert back.code == 0, back.stderr
        assert hosts.script("r1", "nft list tables; iptables-save -t mangle | grep -v '^#'") == before
        assert hosts.script("r1", f"ls {UNIT} 2>/dev/null || :") == ""
        sends()
        (again,) = run_hostaudit(inventory, *ONLY).failures()
        assert (again["check"], again["grade"]) == (CHECK, "active")
        assert "done" not in hosts.script("r1", "cat /tmp/sent")
