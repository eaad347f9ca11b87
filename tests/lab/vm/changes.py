"""Change virtual machines as a user does; an emulated machine needs time for everything."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit import hosts, plans, vm
from labkit.settings import LAB

PATIENT = ("--confirm-timeout", 1200, "--verify-seconds", "2", "--no-watch", "--timeout", 120, "--run-timeout", 300)
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def ifupdown(name: str) -> None:
    """Give eth1 an address, by the program that configures eth0 too."""
    number = name.removeprefix("vm")
    stanza = f"auto eth1\niface eth1 inet static\n    address 10.88.{number}.1/24\n    mtu 1500\n"
    hosts.run(name, "sh", "-ec", "cat >/etc/network/interfaces.d/eth1; ifup eth1", input=stanza)


def plan(to: Path, source: Path, roles: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write one plan of several roles for all hosts of an inventory, resting on what was read just now."""
    from dataclasses import replace

    from hostaudit.planfile import load, save

    whole = None
    for role, variables in roles.items():
        one = load(plans.write_plan(to, source, role, variables, seconds=60))
        whole = replace(whole, changes=(*whole.changes, *one.changes)) if whole else one
    assert whole
    save(to, whole)
    return to


def boot_id(name: str) -> str:
    """Return what tells one boot from the next; empty while there is none."""
    try:
        return hosts.run(name, "cat", BOOT_ID).strip()
    except Exception:  # noqa: BLE001 - between two boots anything may fail
        return ""


def reboot(*names: str, how: str = "systemctl reboot") -> None:
    """Reboot machines side by side, and wait until they can be used; ``how`` may be ``power``."""
    before = {name: boot_id(name) for name in names}
    for name in names:
        if how == "power":
            vm.cut_power(name)
        else:
            hosts.script(name, how)
    for name in names:
        hosts.wait(lambda n=name: boot_id(n) not in ("", before[n]), 600, f"{name} does not come back")
        hosts.ready(name)
        hosts.wait(lambda n=name: settled(n), 300, f"{name} does not finish its boot")


def settled(name: str) -> bool:
    """Tell whether systemd has started everything."""
    return "starting" not in hosts.run(name, "sh", "-c", "systemctl is-system-running || :")


def log(name: str) -> list[dict[str, Any]]:
    """Return the host's own log of changes."""
    text = hosts.script(name, "cat /var/log/hostaudit/changes.jsonl 2>/dev/null || :")
    return [json.loads(line) for line in text.splitlines()]


def source(to: Path, names: list[str]) -> Path:
    """Write an inventory of machines."""
    from labkit.audit import write_inventory

    return write_inventory(to / "inventory.ini", names, {n: {"ansible_timeout": "120"} for n in names})


def journal(to: Path) -> Path:
    """Return the controller's journal; its own directory per test keeps locks apart."""
    assert LAB.exists()
    return to / "journal.db"
