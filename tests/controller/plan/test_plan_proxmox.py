"""What a plan does and refuses on Proxmox VE; the ids are those of docs/proxmox.md."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hostaudit.report import Style
from hostaudit.report._plan import render

TOP = Path(__file__).resolve().parents[3]
HOST_FW = "/etc/pve/nodes/pve1/host.fw"
KEY = "nf_conntrack_allow_invalid"


def misread(file=HOST_FW, **more):
    return {"file": file, "line": 3, "text": "tcpflags: yes", "why": "boolean", "key": "tcpflags", **more}


@pytest.mark.parametrize(
    ("proxmox", "why"),
    [
        pytest.param({"quorate": False}, "no quorum", id="proxmox-5-quorum"),
        pytest.param({"mounted": False}, "not mounted", id="proxmox-5-mount"),
        pytest.param({"misread": [misread(rust="1")]}, "would delete when it saves", id="proxmox-0.8-lines"),
        pytest.param({"comments": [f"{HOST_FW}:2: # by hand"]}, "has comments, which", id="proxmox-0.8-comments"),
        pytest.param(
            {"implementation": "nftables", "misread": [misread("/etc/pve/firewall/101.fw", refuses=True)]},
            "proxmox-firewall refuses /etc/pve/firewall/101.fw because of line 3",
            id="proxmox-1-refused-guest",
        ),
        pytest.param(
            {"implementation": "nftables", "packages": {"proxmox-firewall": "0.6.0"}},
            "it would have no effect: proxmox-firewall 0.6.0 drops",
            id="proxmox-2-version",
        ),
    ],
)
def test_refused_before_anything_is_touched(planned, dropper, proxmox, why):
    rules = {"invalid": [{"rule": "pve-nft"}]} if "implementation" in proxmox else {}
    more = {"firewall": rules} if rules else {}
    made = planned(dropper("pve1", platform={"proxmox": {"options": "<empty>", **proxmox}}, **more))
    assert made.changes == ()
    assert any(why in declined.reason for declined in made.declined), made.declined


@pytest.mark.parametrize(
    "proxmox",
    [
        pytest.param({"misread": [misread(perl="1", why="case")]}, id="proxmox-1-case"),
        pytest.param({"misread": [misread("/etc/pve/firewall/101.fw")]}, id="a-guest-that-pve-firewall-reads"),
        pytest.param({"packages": {"proxmox-firewall": "0.6.0"}}, id="proxmox-2-version-not-live"),
    ],
)
def test_not_refused_where_it_does_not_matter(planned, dropper, proxmox):
    made = planned(dropper("pve1", platform={"proxmox": {"options": "<empty>", **proxmox}}))
    assert [change.role for change in made.changes] == ["pve_firewall"]


def test_a_file_that_is_written_as_a_file_keeps_its_lines(planned, dropper):
    one = dropper("pve1", platform={"proxmox": {"options": "<empty>", "misread": [misread(rust="1")]}})
    said = replace(one.host, variables={**one.host.variables, "pve_firewall_method": "file"})
    (change,) = planned(replace(one, host=said)).changes
    assert change.vars == {"pve_firewall_options": {KEY: 1}}


def test_the_live_rules_are_the_proof_and_not_the_file(planned, dropper):
    """proxmox-0.9: compile and status exit 0 on lines that they ignore."""
    (change,) = planned(dropper("pve1")).changes
    rule = "firewall.invalid.iptables-legacy/ip/filter/PVEFW-FORWARD"
    assert change.values[rule] == ["-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"]
    assert {"platform.proxmox.quorate", "platform.proxmox.mounted"} & set(change.facts)
    assert f"host.fw {KEY} reads 1" in change.proof


def test_nobody_is_told_to_apply_all_sysctl_files():
    """proxmox-0.7: 10-pve.conf would lift the guests' filters for up to ten seconds."""
    roles = [path.read_text(encoding="utf-8") for path in (TOP / "playbooks").rglob("tasks/*.yml")]
    assert roles
    command = re.compile(r"^\s*\S*(?:command|shell|cmd): .*sysctl.*--system|name: systemd-sysctl", re.MULTILINE)
    assert command.search("  ansible.builtin.command: sysctl --system")
    assert not [found[0] for text in roles if (found := command.search(text))]


def test_the_narrower_ways_are_in_the_plan_with_their_costs(planned, dropper):
    made = planned(dropper("pve1"))
    (change,) = made.changes
    assert [way.name for way in change.alternatives] == [
        "NOTRACK for VIP only",
        "SNAT instead of DSR",
        "a symmetric path",
    ]
    out = io.StringIO()
    render(made, out, Style(width=100))
    text = " ".join(out.getvalue().split())
    assert "INVALID stays dropped for everything else" in text
    assert "--notrack" not in text
    out = io.StringIO()
    render(made, out, Style(width=100, verbose=1))
    assert "-t raw -A PREROUTING -d VIP -j CT --notrack" in " ".join(out.getvalue().split())
    assert "blind resets" in change.risk
