"""Hosts for plans: those of the checks' cases, which are real kinds of hosts already."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from hostaudit.evaluate import evaluate
from hostaudit.model import Host, Unreachable
from hostaudit.plan import Made, plan
from hostaudit.policy import Policy

CASES = Path(__file__).resolve().parents[2] / "checks/test_cases.py"
MADE = Made("p1", "2026-01-02T03:04:05Z", "0.1.0", "r1", ("/etc/hosts.ini",), "")
DROP = {
    "platform": {"proxmox": {"options": "<empty>"}},
    "firewall": {"invalid": [{"rule": "pve-forward", "packets": 412, "delta": 30}]},
}
DSR = {"hostaudit_asymmetric": "DSR"}


def _cases():
    """Return the module that reads the checks' cases; importlib's mode of pytest has no package to import it from."""
    spec = importlib.util.spec_from_file_location("checks_cases", CASES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cases():
    return _cases()


@pytest.fixture(scope="session")
def made():
    return MADE


@pytest.fixture
def host(cases):
    """Return what makes a host that answered: its name, kind (a file of tests/checks/hosts), group, snapshot."""

    def make(name, kind, group="group", variables=None, **snapshot):
        found = cases.collected(name, {"host": kind, "snapshot": snapshot, "variables": variables or {}})
        return replace(found, host=Host(name, (group,), variables or {}))

    return make


@pytest.fixture
def dropper(host):
    """Return what makes a hypervisor that drops INVALID on a path declared asymmetric."""
    return lambda name, group="hypervisors", **more: host(
        name, "pve9", group, DSR, **{**DROP, **more, "platform": {**DROP["platform"], **more.get("platform", {})}}
    )


@pytest.fixture
def planned():
    """Return what judges answers and plans."""

    def make(*answers, outside=(), made=MADE):
        good = [a for a in answers if not isinstance(a, Unreachable)]
        return plan(evaluate(good, Policy()), list(answers), made, outside)

    return make
