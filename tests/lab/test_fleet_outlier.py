"""Five nodes that should be alike; the new one lacks a rule and has another sysctl. No check knows either of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

SUITES = ("bookworm", "bookworm", "bookworm", "bookworm", "bullseye", "bullseye", "bullseye", "trixie", "trixie")
NODES = ("node1", "node2", "node3", "node4", "node5")
# Each node names its own addresses: rules that differ in nothing else are the same rule.
RULES = """\
iptables-legacy -N CNI-FORWARD
iptables-legacy -A FORWARD -j CNI-FORWARD
iptables-legacy -A CNI-FORWARD -s 10.244.{n}.0/24 -m conntrack --ctstate INVALID -j DROP
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({name: Spec("ns:bookworm", groups=("nodes",)) for name in NODES}):
        for number, name in enumerate(NODES, 1):
            hosts.script(name, RULES.format(n=number) + "sysctl -qw net.core.somaxconn=8192")
        hosts.script("node5", "iptables-legacy -F CNI-FORWARD; sysctl -qw net.core.somaxconn=128")
        yield write_inventory(tmp_path_factory.mktemp("outlier") / "inventory.ini", NODES)


@pytest.fixture(scope="module")
def faulty(source: Path) -> Audit:
    return run_hostaudit(source)


def test_the_one_that_differs_is_named_and_no_other(faulty: Audit) -> None:
    (finding,) = faulty.failures("fleet-outlier")
    assert (finding["host"], finding["grade"], finding["severity"]) == ("node5", "risk", "low")
    assert finding["summary"].startswith("differs from 4 hosts like it in a firewall rule")


def test_what_differs_is_listed_the_rule_first(faulty: Audit) -> None:
    (finding,) = faulty.failures("fleet-outlier")
    first = finding["evidence"]["differs"][0]
    assert "CNI-FORWARD" in first["what"]
    assert (first["here"], first["others"]) == ("absent", "there")
    others = {row["what"]: (row["here"], row["others"]) for row in finding["evidence"]["differs"]}
    assert others["sysctl.knobs.net.core.somaxconn.running"] == ("128", "8192")
    assert finding["evidence"]["differences"] == 2, others


def test_nothing_is_said_once_it_is_like_the_others(source: Path, faulty: Audit) -> None:
    assert faulty.failures("fleet-outlier")
    hosts.script("node5", RULES.format(n=5).splitlines()[-1] + "; sysctl -qw net.core.somaxconn=8192")
    assert run_hostaudit(source, "--only", "fleet-outlier").failures() == []


def test_hosts_of_three_releases_in_one_cohort_are_no_outliers(tmp_path: Path) -> None:
    """Being older is no fault, and nobody is called the odd one."""
    specs = {f"{suite[:4]}{n}": Spec(f"ns:{suite}", groups=("mixed",)) for n, suite in enumerate(SUITES)}
    with hosts.up(specs):
        result = run_hostaudit(write_inventory(tmp_path / "inventory.ini", specs))
    assert sorted(result.hosts("ok")) == sorted(specs)
    assert result.failures() == []
    assert result.document["counts"]["pass"] > len(specs)
