"""Twenty hosts with nothing wrong: nothing may be called wrong there."""

from collections.abc import Iterator

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

SUITES = ("bullseye", "bookworm", "trixie")
NAMES = tuple(f"{suite[:4]}{i}" for i in range(1, 8) for suite in SUITES)[:20]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    specs = {n: Spec(f"boot:{next(s for s in SUITES if s[:4] == n[:4])}", groups=("fleet",)) for n in NAMES}
    with hosts.up(specs):
        yield run_hostaudit(write_inventory(tmp_path_factory.mktemp("healthy") / "inventory.ini", NAMES))


def test_all_are_read_in_full(result: Audit) -> None:
    assert sorted(result.hosts("ok")) == sorted(NAMES), result.hosts("partial") | result.hosts("unreachable")


def test_nothing_is_active(result: Audit) -> None:
    assert result.failures(grade="active") == []


def test_no_risk_is_seen_either(result: Audit) -> None:
    """Debian as installed is not a fault. A check that must report one here names it in this test, with the reason."""
    assert {f["check"]: f["summary"] for f in result.failures()} == {}


def test_that_is_because_they_were_looked_at(result: Audit) -> None:
    counts = result.document["counts"]
    assert counts["unknown"] == 0
    assert counts["pass"] >= 4 * len(NAMES)


def test_the_exit_code_is_clean(result: Audit) -> None:
    assert result.code == 0
