"""What a change left, now and for the next boot, from snapshots and from what the files of a host say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from hostaudit.apply import readback, witness
from hostaudit.apply.guard import Reply
from hostaudit.apply.readback import Boot
from hostaudit.change.watch import evidence, writer
from hostaudit.knobs import ALLOW_INVALID
from hostaudit.model import KnobChange, PlannedChange
from hostaudit_agent.snapshot import Assignment, Knob, Platform, Proxmox, Snapshot, Sysctl, Unread

if TYPE_CHECKING:
    from pathlib import Path

KEY = "net.netfilter.nf_conntrack_max"
HASH = "nf_conntrack hashsize"
FILE = "/etc/sysctl.d/zz-hostaudit.conf"


def change(*knobs: tuple[str, str], role: str = "sysctl", **variables: object) -> PlannedChange:
    found = tuple(KnobChange(name, None, None, then) for name, then in knobs)
    return PlannedChange("h/x", "h", "all", (), "", role, variables, found, 1, 1, "", "", {})


def snapshot(configured: str | None = None, options: dict[str, str] | None = None, unread: str = "") -> Snapshot:
    line = None if configured is None else Assignment(configured, FILE, 3)
    return Snapshot(
        "0", 1.0, 0.0, privileged=True,
        platform=Platform("h", "6.1", proxmox=Proxmox("8.2", "h", mounted=True, options=options or {})),
        sysctl=Sysctl({KEY: Knob("5000", writable=True, configured=line)}),
        unread=[Unread("sysctl.configured", unread)] if unread else [],
    )  # fmt: skip


LOADED = Boot(modules={"nf_conntrack": "/etc/modules-load.d/zz-hostaudit.conf"})


@pytest.mark.parametrize(
    ("shot", "found", "phrases"),
    [
        (snapshot("5000"), LOADED, []),
        (snapshot("262144"), LOADED, [f"{KEY} will be 262144 after a reboot, not 5000: {FILE}:3 says so"]),
        (snapshot(), LOADED, [f"{KEY} will not be 5000 after a reboot: no file sets it"]),
        (
            snapshot(unread="permission denied"),
            LOADED,
            [f"{KEY} will not be 5000 after a reboot: the files could not be read, permission denied"],
        ),
        (
            snapshot("5000"),
            Boot(),
            ["module nf_conntrack may be loaded too late at boot for its keys: no file of modules-load.d has it"],
        ),
        (
            snapshot("5000"),
            Boot(unread="no route to host"),
            ["module nf_conntrack may be loaded too late at boot for its keys: no route to host"],
        ),
    ],
)
def test_a_key_has_its_value_after_a_reboot_too(shot: Snapshot, found: Boot, phrases: list[str]) -> None:
    assert readback.wrong_at_boot(shot, change((KEY, "5000")), found) == phrases


def test_what_is_to_hold_until_the_next_boot_needs_no_file() -> None:
    assert readback.wrong_at_boot(snapshot(), change((KEY, "5000"), sysctl_running={KEY: 5000}), Boot()) == []


@pytest.mark.parametrize(
    ("found", "phrases"),
    [
        (Boot(mtu={"eth0": ("1400", "/etc/network/interfaces")}), []),
        (
            Boot(mtu={"eth0": ("9000", "/etc/network/interfaces")}),
            ["mtu eth0 will be 9000 after a reboot, not 1400: /etc/network/interfaces says so"],
        ),
        (Boot(mtu={"eth0": None}), ["mtu eth0 will not be 1400 after a reboot: no file sets it"]),
        (
            Boot(unread="no route to host"),
            ["mtu eth0 will not be 1400 after a reboot: what its files say could not be read, no route to host"],
        ),
    ],
)
def test_an_mtu_and_the_size_of_the_hash(found: Boot, phrases: list[str]) -> None:
    assert readback.wrong_at_boot(snapshot(), change(("mtu eth0", "1400"), role="link_mtu"), found) == phrases
    size = Boot(options={HASH: ("1024", "/etc/modprobe.d/x.conf")})
    said = readback.wrong_at_boot(snapshot(), change((HASH, "2048"), role="conntrack_table"), size)
    assert said == [f"{HASH} will be 1024 after a reboot, not 2048: /etc/modprobe.d/x.conf says so"]


def test_a_clamp_is_asked_for_and_has_to_be_there_after_a_reboot() -> None:
    wanted = change(("mss wg0", "pmtu"), role="mss_clamp", mss_clamp_interfaces=["wg0"])
    assert json.loads(readback.questions([wanted]))["clamps"] == ["wg0"]
    seen = {"mtu": {}, "modules": {}, "options": {}, "clamps": {"wg0": ["pmtu", "/etc/x.service"]}}
    assert readback.wrong_at_boot(snapshot(), wanted, readback.boot(seen)) == []
    assert readback.wrong_at_boot(snapshot(), wanted, Boot(clamps={"wg0": None})) == [
        "mss wg0 will not be pmtu after a reboot: no file sets it"
    ]


def test_the_option_has_to_be_in_host_fw() -> None:
    wanted = change((ALLOW_INVALID, "1"), role="pve_firewall")
    assert readback.wrong_at_boot(snapshot(options={"nf_conntrack_allow_invalid": "1"}), wanted, Boot()) == []
    missing = readback.wrong_at_boot(snapshot(), wanted, Boot())
    assert missing == [f"{ALLOW_INVALID} will not be 1 after a reboot: host.fw does not have it"]


def test_only_what_the_snapshot_does_not_say_is_asked_for() -> None:
    assert readback.questions([change(("net.core.somaxconn", "5000"))]) == ""
    asked = json.loads(readback.questions([change((KEY, "5"), ("mtu eth0", "1400"), (HASH, "512"))]))
    assert asked == {"links": ["eth0"], "modules": ["nf_conntrack"], "options": [HASH]}


@pytest.mark.parametrize("seen", [None, [], {"mtu": {"eth0": 3}}, {"modules": ["x"]}])
def test_an_answer_that_is_not_as_agreed_is_not_known(seen: object) -> None:
    assert readback.boot(seen).unread.startswith("its answer is not as agreed")


# ---- what the program on the host reads


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(witness, "PLACES", (f"{tmp_path}/etc", f"{tmp_path}/lib"))
    return tmp_path


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_file_hides_the_one_of_the_same_name_and_the_last_option_counts(etc: Path) -> None:
    files = {
        "lib/modules-load.d/a.conf": "br_netfilter\n",
        "etc/modules-load.d/a.conf": "# br_netfilter\n",
        "lib/modules-load.d/b.conf": " nf-conntrack \n",
        "etc/modprobe.d/a.conf": "options nf_conntrack expect_hashsize=1 hashsize=512\n",
        "lib/modprobe.d/z.conf": "#options nf_conntrack hashsize=1\noptions nf-conntrack hashsize=1024\n",
    }
    put(etc, files)
    found = witness.boot({"modules": ["br_netfilter", "nf_conntrack"], "options": [HASH, "nf_conntrack acct"]})
    assert found["modules"] == {"br_netfilter": None, "nf_conntrack": f"{etc}/lib/modules-load.d/b.conf"}
    assert found["options"] == {HASH: ["1024", f"{etc}/lib/modprobe.d/z.conf"], "nf_conntrack acct": None}


NFT = '    {way}ifname "{name}" tcp flags & (syn|rst) == syn tcp option maxseg size set {size} comment "x"; \\\n'
NFT4 = NFT.replace("{way}", "meta nfproto ipv4 {way}")
TABLES = "ExecStart=/usr/sbin/iptables-legacy -t mangle -A HOSTAUDIT-MSS -{way} {name} -p tcp -j TCPMSS {size}\n"


@pytest.mark.parametrize(
    ("line", "size", "found"),
    [
        (NFT, "rt mtu", "pmtu"),
        (NFT4, "1360", "1360"),
        (TABLES, "--clamp-mss-to-pmtu", "pmtu"),
        (TABLES, "--set-mss 1360", "1360"),
    ],
)
def test_the_clamp_of_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, size: str, found: str
) -> None:
    monkeypatch.setattr(witness, "UNITS", str(tmp_path))
    both = "".join(line.format(way=way, name="wg0", size=size) for way in "oi")
    put(tmp_path, {witness.CLAMP: both + line.format(way="o", name="wg1", size=size)})
    assert witness.clamp("wg0") is None, "the unit is not enabled"
    put(tmp_path, {f"multi-user.target.wants/{witness.CLAMP}": ""})
    assert witness.boot({"clamps": ["wg0", "wg1", "wg"]})["clamps"] == {
        "wg0": [found, f"{tmp_path}/{witness.CLAMP}"],
        "wg1": None,
        "wg": None,
    }


@pytest.mark.parametrize(
    ("text", "mtu"),
    [
        ("iface eth0 inet static\n  mtu 1400\n", "1400"),
        ("iface eth0 inet6 auto\n  mtu 1300\niface eth0 inet manual\n\tmtu 1400\n", "1400"),
        ("iface eth0 inet manual\n\tmtu 1400\niface eth0 inet6 auto\n  mtu 1300\n", "1400"),
        ("iface eth1 inet manual\n\tmtu 1400\n", None),
        ("iface eth0 inet manual\nauto eth1\n mtu 9\n#\tmtu 1400\n", None),
        ("iface eth0 inet manual\n", None),
    ],
)
def test_the_mtu_of_ifupdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mtu: str | None) -> None:
    put(tmp_path, {"one": "source two\n", "two": text})
    monkeypatch.setattr(witness, "interfaces", lambda _path, _depth: [f"{tmp_path}/one", f"{tmp_path}/two"])
    assert witness.of_interfaces("eth0") == (mtu and [mtu, f"{tmp_path}/two"])


def test_files_that_changed_are_told_with_age_and_owner_and_older_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"new.conf": "x"})
    monkeypatch.setattr(witness, "WATCHED", (str(tmp_path), f"{tmp_path}/missing"))
    told = witness.files(60)
    assert any(line.startswith(f"{tmp_path}/new.conf changed 0 s ago, owner ") for line in told)
    os.utime(tmp_path / "new.conf", (0, 0))
    assert len(witness.files(60)) == len(told), "a time that was set back hides nothing"
    assert witness.files(-1) == []


def test_commands_of_the_log_are_told_when_they_name_the_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"SYSLOG_IDENTIFIER": "sudo", "MESSAGE": "al : COMMAND=/usr/sbin/sysctl -w net.core.somaxconn=1"},
        {"SYSLOG_IDENTIFIER": "sudo", "MESSAGE": "al : COMMAND=/usr/bin/apt update"},
        {"SYSLOG_IDENTIFIER": "sshd", "MESSAGE": "sysctl"},
        {
            "SYSLOG_IDENTIFIER": "python3",
            "MESSAGE": "ansible-ansible.posix.sysctl Invoked with name=net.core.somaxconn",
        },
        {"SYSLOG_IDENTIFIER": "CRON", "MESSAGE": [1, 2]},
    ]
    lines = [json.dumps({**entry, "__REALTIME_TIMESTAMP": "0"}) for entry in entries]
    monkeypatch.setattr(witness, "output", lambda *_: "\n".join([*lines, "no JSON"]))
    told = witness.logged(60, ["net.core.somaxconn", "sysctl"])
    assert [line.split(" ")[0] for line in told] == ["sudo", "python3"]


def test_evidence_is_told_without_secrets_and_without_controls() -> None:
    reply = Reply("h", seen=["sudo logged 3 s ago: al : COMMAND=x --password=hunter2", "\x1b[31mred", 7])
    said = evidence(reply)
    assert len(said) == 2
    assert "hunter2" not in said[0]
    assert "\x1b" not in said[1]
    assert evidence(Reply("h", failure="no route to host")) == ["not known, no route to host"]


def test_the_usual_owner_is_called_no_more_than_that() -> None:
    assert writer(snapshot(), change(("net.core.somaxconn", "1"))) == "No usual owner of it is known"
    running = Proxmox(
        "8", "h", mounted=True, implementation="iptables", running=True, options_file="/etc/pve/x/host.fw"
    )
    shot = Snapshot("0", 1.0, 0.0, privileged=True, platform=Platform("h", "6.1", proxmox=running))
    said = writer(shot, change((KEY, "1")))
    assert said == "The usual owner is pve-firewall, every 10 s, which reads [OPTIONS] of /etc/pve/x/host.fw"
