"""Full and read-only disks: a host that cannot keep what is there is not changed; one that was changed goes back."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from labkit import hosts

from roles.guarding import (
    CONF,
    TOUCHES,
    VALUE,
    arm,
    change,
    done,
    events,
    furnish,
    guard,
    left,
    look,
    settle,
    until,
)
from roles.play import NAMES, log, remediate

BIG = "/etc/big.d/big"
EVERYTHING = "/etc /var /usr /root /home /opt /srv"
FILL = "dd if=/dev/zero of=/root/fill bs=64k 2>/dev/null || :; dd if=/dev/zero of=/root/fill2 bs=1 2>/dev/null || :"
"""Not a byte is left then."""
SUBSTATE = ("systemctl", "show", "-p", "SubState", "hostaudit-guard-c.service")


@pytest.fixture(scope="module", params=["b13", *(pytest.param(n, marks=pytest.mark.long) for n in ("b11", "b12"))])
def booted(request: pytest.FixtureRequest) -> Iterator[str]:
    """Boot one host after the other: a small disk, which can be filled."""
    name = str(request.param)
    with hosts.up({name: hosts.Spec(f"boot:{NAMES[name]}", disk="24m")}) as names:
        furnish(names)
        yield name


@pytest.fixture
def name(booted: str) -> Iterator[str]:
    settle(booted)
    yield booted
    hosts.script(booted, "rm -rf /root/fill* /etc/big.d")
    settle(booted)


@contextmanager
def read_only(host: str, where: str) -> Iterator[None]:
    """Make folders, with all that is below them, read-only: as after an error of a disk."""
    hosts.script(host, f"for d in {where}; do mount --bind $d $d; mount -o remount,bind,ro $d; done")
    try:
        yield
    finally:
        hosts.script(host, f"umount -l {where}")


def refused(host: str, words: str) -> None:
    """Arm, in vain: nothing is changed, one sentence says why, nothing is left, and it can be armed later."""
    code, said = guard(host, "arm", "c", 600, *TOUCHES)
    assert code == 2, said
    assert words in said
    assert "nothing was changed" in said


def test_no_room_to_keep_what_is_there(name: str) -> None:
    before = look(name)
    for size in ("4k", "16k", "40k", "64k", "96k", "112k"):  # so that it ends at another step each time
        hosts.script(name, f"mkdir -p /var/lib/hostaudit; mount -t tmpfs -o size={size} tmpfs /var/lib/hostaudit")
        refused(name, "could not keep what is there now" if size != "4k" else "")
        hosts.script(name, 'test -z "$(find /var/lib/hostaudit -name guard -type f)"; umount /var/lib/hostaudit')
        assert left(name) == []
    hosts.script(name, FILL)
    refused(name, "No space left on device")
    assert left(name) == []
    hosts.script(name, "rm -f /root/fill*")
    assert look(name) == before
    arm(name)
    done(name, "revert", "c")


def test_the_disk_is_full_before_the_undo(name: str) -> None:
    """The undo needs more room than the change left: 300 kB come back where there were 5 bytes."""
    hosts.script(name, f"mkdir -p /etc/big.d; head -c 300000 /dev/urandom >{BIG}")
    before, big = look(name), hosts.run(name, "sha256sum", BIG)
    done(name, "arm", "c", 12, *TOUCHES, f"file {BIG}", f"file {BIG}.new")
    change(name)
    hosts.script(name, f"echo small >{BIG}; echo new >{BIG}.new; {FILL}")
    code, _ = guard(name, "extend", "c", 6)  # the timer cannot be written: it stays as it was
    assert code == 1
    until(name, before)
    assert hosts.run(name, "sha256sum", BIG) == big
    assert guard(name, "confirm", "c", 20)[0] == 4
    assert left(name) == []
    assert hosts.run(name, "ls", "-A", "/etc/big.d").split() == ["big"]


def test_a_disk_that_is_full_elsewhere_is_tried_again(name: str) -> None:
    """The room on this small disk was taken by somebody else; when it is free again, the file comes back."""
    hosts.script(
        name,
        f"mkdir -p /etc/big.d; mount -t tmpfs -o size=64k tmpfs /etc/big.d; head -c 40000 /dev/urandom >{BIG}",
    )
    try:
        big = hosts.run(name, "sha256sum", BIG)
        done(name, "arm", "c", 600, f"file {BIG}", f"value {VALUE}")
        hosts.script(name, f"rm {BIG}; echo 5000 >{VALUE}; head -c 64000 /dev/zero >/etc/big.d/other || :")
        code, said = guard(name, "revert", "c")
        assert (code, f"not as it was: file {BIG}" in said) == (1, True), said
        assert hosts.run(name, "cat", VALUE).strip() == "4096", "what can be put back is"
        assert guard(name, "confirm", "c", 20)[0] == 4, "half of it cannot be confirmed any more"
        assert guard(name, "extend", "c", 60)[0] == 4
        hosts.script(name, "systemctl start hostaudit-guard-c.service")  # as the timer does; it tries each 15 s
        hosts.script(name, "rm /etc/big.d/other")
        hosts.wait(lambda: ("reverted", "c") in events(name), 60, "it is not tried again")
        assert hosts.run(name, "sha256sum", BIG) == big
        assert events(name)[0] == ("revert-failed", "c")
        assert guard(name, "confirm", "c", 20)[0] == 4
        assert left(name) == []
    finally:
        hosts.script(name, "umount /etc/big.d")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("/etc", "cannot write below /etc/systemd/system"),
        ("/var", "cannot write below /var/lib/hostaudit"),
        (EVERYTHING, "cannot write below /var/lib/hostaudit"),
    ],
)
def test_a_read_only_host_is_not_changed(name: str, where: str, words: str) -> None:
    before = look(name)
    with read_only(name, where):
        refused(name, words)
        assert "Read-only file system" in guard(name, "arm", "c", 600, *TOUCHES)[1]
    assert look(name) == before
    assert left(name) == []
    arm(name)
    done(name, "revert", "c")


@pytest.mark.parametrize("where", ["/etc", "/var", "/var/log", EVERYTHING])
def test_what_becomes_read_only_goes_back_when_it_can(name: str, where: str) -> None:
    before = look(name)
    arm(name, "c", 3)
    change(name)
    with read_only(name, where):
        hosts.wait(lambda: hosts.run(name, "cat", VALUE).strip() == "4096", 30, "what can be put back is")
        if "/etc" in where:
            assert "5000" in hosts.run(name, "cat", CONF)
        else:
            until(name, before)
        hosts.wait(lambda: "auto-restart" in hosts.run(name, *SUBSTATE), 30, "it will be tried again")
    until(name, before)
    hosts.wait(lambda: ("reverted", "c") in events(name), 60, "it is not written down")
    assert guard(name, "confirm", "c", 20)[0] == 4
    assert left(name) == []
    said = [(e["event"], e["reason"]) for e in log(name)]
    assert said[-1] == ("reverted", "not confirmed within 3 s"), said
    assert [e for e, _ in said].count("reverted") == 1


def test_python_is_not_needed_to_go_back(name: str) -> None:
    before = look(name)
    arm(name, "c", 3)
    change(name)
    hosts.script(name, "for p in /usr/bin/python3*; do mv $p /root/; done")
    try:
        until(name, before)
        assert guard(name, "confirm", "c", 20)[0] == 4
        played = remediate(["sysctl"], {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1}}, "--limit", name)
    finally:
        hosts.script(name, "mv /root/python3* /usr/bin/")
    assert set(played.failed.values()) == {1}, played.text
    assert "python" in played.text.lower()
    assert "not found" in played.text
    assert look(name) == before
    assert left(name) == []
