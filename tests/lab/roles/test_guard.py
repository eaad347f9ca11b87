"""What is not confirmed is undone, exactly, by the host alone."""

import time
from collections.abc import Iterator

import pytest
from labkit import hosts

from roles.play import ALL, NAMES, furnished, log, ok, remediate, state, states

pytestmark = pytest.mark.usefixtures("three")


@pytest.fixture(scope="module")
def three() -> Iterator[None]:
    with furnished():
        yield


def alone(name: str) -> list[str]:
    """Return what a host is, without the units that still watch it."""
    return [line for line in state(name) if "hostaudit-guard" not in line]


def changed_but_not_confirmed(seconds: int, change: str) -> dict[str, list[str]]:
    """Change all hosts, do not confirm, and return what they were before."""
    before = states()
    options = {"hostaudit_confirm": False, "hostaudit_confirm_timeout": seconds, "hostaudit_change": change}
    ok(remediate(["sysctl", "link_mtu"], ALL | options))
    for name in NAMES:
        assert state(name) != before[name]
    return before


def wait_until_reverted(change: str, limit: float) -> None:
    end = time.monotonic() + limit
    while any((log(name) or [{}])[-1].get("event") != "reverted" for name in NAMES):
        assert time.monotonic() < end, [log(name)[-1] for name in NAMES]
        time.sleep(0.3)
    assert {log(name)[-1]["change"] for name in NAMES} == {change}
    time.sleep(0.5)  # the units go after the line is written


@pytest.mark.long
def test_not_confirmed_is_undone_by_the_host_alone() -> None:
    before = changed_but_not_confirmed(60, "late")
    wait_until_reverted("late", 120)
    assert {name: alone(name) for name in NAMES} == before
    assert log("b12")[-1]["reason"] == "not confirmed within 60 s"
    for name in NAMES:
        late = hosts.run(name, "sh", "-c", "sh /var/lib/hostaudit/guard/late.reverted/guard confirm late 1; echo $?")
        assert late.strip() == "4", "whoever confirms too late is told"
        assert not hosts.script(name, "ls /var/lib/hostaudit/guard 2>/dev/null || :")
    assert states() == before


def test_reboot_before_the_confirmation_undoes() -> None:
    before = changed_but_not_confirmed(600, "rebooted")
    hosts.script("b11", "test -e /etc/systemd/system/timers.target.wants/hostaudit-guard-rebooted.timer")
    boots = {name: hosts.run(name, "cat", "/proc/sys/kernel/random/boot_id") for name in NAMES}
    for name in NAMES:
        hosts.script(name, "systemctl reboot")
    for name in NAMES:
        hosts.wait(lambda n=name: boot(n) not in ("", boots[n]), 60, f"{name} does not come back")
        hosts.ready(name)
    wait_until_reverted("rebooted", 60)
    # what was not written to a file before the change is lost with any reboot, but the guard knows what it touched
    for name in NAMES:
        assert [line for line in alone(name) if line[:4] in ("sum ", "mode", "link")] == [
            line for line in before[name] if line[:4] in ("sum ", "mode", "link")
        ]
        assert "/proc/sys/net/ipv4/tcp_mtu_probing:0" in state(name)
    assert {log(name)[-1]["reason"] for name in NAMES} == {"rebooted before it was confirmed"}
    for name in NAMES:
        hosts.script(name, "sysctl -qw net.ipv4.conf.all.rp_filter=1")


def boot(name: str) -> str:
    try:
        return hosts.run(name, "cat", "/proc/sys/kernel/random/boot_id")
    except Exception:  # noqa: BLE001 - between two boots anything may fail
        return ""


def test_a_role_that_fails_takes_the_ones_before_it_back() -> None:
    before = {name: alone(name) for name in NAMES}  # the guard of the reboot may still watch
    played = remediate(["sysctl", "neighbour_table"], ALL | {"neighbour_table_gc_thresh3": 9000})
    assert set(played.failed.values()) == {1}
    assert {name: alone(name) for name in NAMES} == before
    assert log("b13")[-1]["event"] == "reverted"
