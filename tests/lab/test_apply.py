"""A plan is executed, told, and taken back, on Debian 11, 12 and 13; what must be refused is refused untouched."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from labkit import hosts
from labkit.faults import KEY, WANTED, Fleet, kill, truth, when
from labkit.plans import Done, hostaudit, write_plan

NAMES = {"b11": "bullseye", "b12": "bookworm", "b13": "trixie"}


def whole(fleet: Fleet) -> dict[str, str]:
    return {name: truth(name).whole for name in fleet.names}


def on_all(fleet: Fleet, state: str) -> dict[str, str]:
    return dict.fromkeys(fleet.names, state)


@pytest.mark.long
def test_a_change_its_journal_and_its_undo(fleet: Fleet) -> None:
    """One story: the steps rest on each other."""
    check = fleet.apply("--check", "--diff")
    assert check.code == 0, check.stderr
    changed = {h["host"]: "\n".join(h["changed"]) for c in check.document["changes"] for h in c["hosts"]}
    assert all(f"{KEY}: 4096 -> {WANTED}" in text and "zz-hostaudit.conf" in text for text in changed.values())
    assert whole(fleet) == on_all(fleet, "as before")
    assert fleet.entries() == [], "check mode is no change"

    done = fleet.apply("--reason", "queues overflow", "--ticket", "OPS-7")
    assert (done.code, done.states) == (0, on_all(fleet, "confirmed")), done.stderr
    assert whole(fleet) == on_all(fleet, "confirmed")
    assert "canary: tcp_backlog on b11\n" in done.stderr
    assert "batch 2: tcp_backlog on b12, b13\n" in done.stderr
    knobs = done.document["changes"][0]["hosts"][0]["knobs"]
    assert knobs == {KEY: ["4096", str(WANTED), str(WANTED)]}

    again = fleet.apply()
    assert again.code == 16, "the same plan is stale now"
    assert f"b12: sysctl.knobs.{KEY}.running: was 4096, is {WANTED} now" in again.stderr
    assert whole(fleet) == on_all(fleet, "confirmed")

    log = hostaudit(fleet.journal, "log", "--format", "json")
    entries = [json.loads(line) for line in log.stdout.splitlines()]
    assert [e["kind"] for e in entries] == ["change-begin", "change-end"]
    assert {(e["reason"], e["ticket"]) for e in entries} == {("queues overflow", "OPS-7")}
    assert hostaudit(fleet.journal, "log", "verify").stdout.startswith("sound: ")
    shown = hostaudit(fleet.journal, "show", done.change).stdout
    assert f"b13: {KEY}: 4096 -> {WANTED}, read back {WANTED}" in shown
    assert "verify end b11" in shown

    hosts.script("b12", f"sysctl -qw {KEY}=777")
    refused = fleet.rollback(done.change)
    assert refused.code == 16
    assert f"value /proc/sys/net/core/somaxconn: before 4096, we wrote {WANTED}, now 777" in refused.stderr
    assert truth("b11").whole == "confirmed", "nothing was touched, on no host"
    assert fleet.rollback(done.change, "--force").code == 2, "force wants a reason"
    forced = fleet.rollback(done.change, "--force", "--reason", "777 was a trial")
    assert forced.code == 0, forced.stderr
    assert whole(fleet) == on_all(fleet, "as before")
    twice = fleet.rollback(done.change)
    assert twice.code == 2
    assert "in force on no host" in twice.stderr


def test_a_plan_that_is_stale_on_one_host_changes_none(fleet: Fleet) -> None:
    hosts.script("b13", f"sysctl -qw {KEY}=1234")
    done = fleet.apply()
    assert done.code == 16
    assert f"b13: sysctl.knobs.{KEY}.running: was 4096, is 1234 now" in done.stderr
    assert "b11" not in done.stderr.partition("Since it was made")[2]
    assert [truth(n).value for n in fleet.names] == ["4096", "4096", "1234"]


def test_an_edited_plan_and_a_foreign_inventory_are_refused(fleet: Fleet) -> None:
    unnamed = hostaudit(fleet.journal, "apply", fleet.plan)
    assert unnamed.code == 2
    assert "with -i" in unnamed.stderr
    foreign = hostaudit(fleet.journal, "apply", fleet.plan, "-i", "other.example.net,")
    assert foreign.code == 2
    assert "which this inventory does not" in foreign.stderr
    fleet.plan.write_text(fleet.plan.read_text().replace(str(WANTED), "9"))
    edited = fleet.apply()
    assert edited.code == 2
    assert "changed since it was made" in edited.stderr
    assert whole(fleet) == on_all(fleet, "as before")


def test_outside_the_window_nothing_is_touched(fleet: Fleet, tmp_path: Path) -> None:
    policy = tmp_path / "closed.toml"
    policy.write_text(
        '[[windows]]\nfreeze = {from = 2020-01-01, to = 2199-01-01}\ntimezone = "UTC"\nname = "for good"\n'
    )
    closed = fleet.apply("--policy", str(policy))
    assert closed.code == 75
    assert 'freeze "for good"' in closed.stderr
    assert fleet.entries() == []
    assert fleet.apply("--policy", str(policy), "--outside-window").code == 2, "a reason is needed"
    told = hostaudit(fleet.journal, "windows", "--policy", policy)
    assert told.code == 75
    done = fleet.apply("--policy", str(policy), "--outside-window", "--reason", "customers are down", "-l", "b11")
    assert (done.code, done.states) == (0, {"b11": "confirmed"}), done.stderr
    log = hostaudit(fleet.journal, "log", "--kind", "window-override", "--format", "json").stdout
    entry = json.loads(log)
    assert entry["reason"] == "customers are down"
    assert "for good" in entry["payload"]["window"]
    assert whole(fleet) == {"b11": "confirmed", "b12": "as before", "b13": "as before"}


@pytest.mark.long
def test_a_second_apply_is_refused_and_ctrl_c_puts_the_batch_back(fleet: Fleet) -> None:
    process = fleet.start()
    try:
        assert when(fleet, process, lambda entries: ("step", "run", "begin") in entries)
        second = fleet.apply()
        assert second.code == 75
        assert "is locked by" in second.stderr
        assert f"process {process.pid}, which is running" in second.stderr
        assert when(fleet, process, lambda entries: ("step", "run", "end") in entries)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        kill(process, everything=True)
    done = Done(process.returncode, json.loads(out), out, err)
    assert done.code == 99, err
    assert done.states == {"b11": "as before", "b12": "not touched", "b13": "not touched"}
    assert whole(fleet) == on_all(fleet, "as before")
    assert fleet.entries()[-1][0] == "change-end"
    assert fleet.resume().code == 0, "nothing is unfinished"


def test_a_host_that_cannot_be_armed_is_not_changed(fleet: Fleet) -> None:
    """Its disk is read-only for the guard: no undo could be kept, so nothing is done; later batches do not begin."""
    hosts.script("b11", "mkdir -p /var/lib/hostaudit; mount -t tmpfs -o ro tmpfs /var/lib/hostaudit")
    try:
        done = fleet.apply()
    finally:
        hosts.script("b11", "umount /var/lib/hostaudit")
    assert done.code == 8, done.stderr
    assert done.states == dict.fromkeys(fleet.names, "not touched")
    assert "cannot" in done.document["changes"][0]["hosts"][0]["detail"]
    assert whole(fleet) == on_all(fleet, "as before")


def taken_back(fleet: Fleet, rival: str) -> str:
    """Apply on one host; the rival's commands run there some seconds after the confirmation. Return what is said."""
    loop = (
        f"nohup sh -c 'until [ $(sysctl -n {KEY}) = {WANTED} ]; do sleep 0.2; done; "
        f"until ls /var/lib/hostaudit/changes 2>/dev/null | grep -q .; do sleep 0.2; done; sleep 3; {rival}' "
        ">/dev/null 2>&1 &"
    )
    hosts.script("b13", loop)
    words = ["apply", fleet.plan, "-i", fleet.source, "-l", "b13", "--format", "json", "--verify-seconds", "1"]
    done = hostaudit(fleet.journal, *words, "--watch", "12")
    assert done.code == 8, done.stderr
    said = str(done.document["changes"][0]["hosts"][0]["taken_back"])
    assert f"taken back: {said}" in done.stderr
    return said


def test_that_a_value_was_taken_back_is_said_and_no_more_than_is_known(fleet: Fleet) -> None:
    said = taken_back(fleet, f"sysctl -qw {KEY}=128")
    assert said.startswith(f"{KEY} is 128, not {WANTED}. ")
    assert said.endswith("No usual owner of it is known")
    assert "zz-hostaudit" not in said, "what the change itself wrote is no evidence"


def test_what_the_host_tells_about_who_took_a_value_back_is_named_as_evidence(fleet: Fleet) -> None:
    file = "/etc/sysctl.d/50-rival.conf"
    unit = "systemd-run -q --unit=rival -p RemainAfterExit=yes sh -c"
    try:
        said = taken_back(fleet, f'{unit} "echo {KEY}=128 >{file}; sysctl -qp {file}"')
    finally:
        hosts.script("b13", f"systemctl stop rival.service || :; rm -f {file}")
    assert f"Seen on the host since it was right: {file} changed " in said
    assert "rival.service started " in said
    assert "owner root" in said


def test_one_bad_host_sends_its_whole_batch_back_at_once(fleet: Fleet) -> None:
    """Ansible stops the others in the middle; they do not have to wait for their own timers."""
    hosts.script("b13", "mount -t tmpfs -o ro tmpfs /etc/sysctl.d")
    try:
        fleet.planned()
        began = time.monotonic()
        done = fleet.apply("--confirm-timeout", "900")
        took = time.monotonic() - began
    finally:
        hosts.script("b13", "umount /etc/sysctl.d")
    assert done.code == 8, done.stderr
    assert done.states["b11"] == "confirmed", "a batch before it stays, for it is no worse than nothing"
    assert (done.states["b12"], truth("b12").whole) == ("as before", "as before")
    assert truth("b13").whole == "as before"
    details = {h["host"]: h["detail"] for h in done.document["changes"][0]["hosts"]}
    assert details["b12"].startswith("put back with its batch, because of b13")
    assert "putting back: b12, b13" in done.stderr
    assert took < 450, "nobody waited for a timer"
    assert "not confirmed within" not in hosts.script("b12", "cat /var/log/hostaudit/changes.jsonl")


@pytest.mark.long
def test_the_mtu_of_the_next_boot_is_read_back_too(fleet: Fleet) -> None:
    """On b13 systemd-networkd has the link, on b11 ifupdown; only those files say what it will be after a reboot."""
    files = {
        "b13": ("/etc/systemd/network/20-lx9.network", "[Match]\nName=lx9\n[Link]\nMTUBytes=1500\n"),
        "b11": ("/etc/network/interfaces", "iface lx9 inet manual\n"),
    }
    hosts.script("b13", "systemctl -q unmask systemd-networkd; systemctl start systemd-networkd")
    for name, (file, text) in files.items():
        hosts.script(
            name, f"mkdir -p {Path(file).parent}; printf '{text}' >{file}; ip link add lx9 type veth peer name lx9p"
        )
    hosts.script("b13", "networkctl reload; ip link set lx9p up; ip link set lx9 up")
    state = (
        "grep -qsE 'ADMIN_STATE=configur(ed|ing)' "
        "/run/systemd/netif/links/$(cat /sys/class/net/lx9/ifindex) && echo yes || :"
    )
    try:
        hosts.wait(lambda: "yes" in hosts.script("b13", state), 60, "networkd has not taken the link")
        write_plan(fleet.plan, fleet.source, "link_mtu", {"link_mtu_links": {"lx9": 1400}}, hosts=tuple(files))
        done = fleet.apply("--confirm-timeout", "60")
        assert (done.code, done.states) == (0, dict.fromkeys(files, "confirmed")), done.stderr
        undone = fleet.rollback(done.change, "--confirm-timeout", "60")
        assert undone.code == 0, undone.stderr
    finally:
        for name, (file, _) in files.items():
            hosts.script(name, f"ip link del lx9; rm -f {file}")
        hosts.script("b13", "systemctl stop systemd-networkd; systemctl -q mask systemd-networkd")
