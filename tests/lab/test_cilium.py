"""Cilium's BPF maps, made as its loader makes them: full, dropping, and healthy again. The eviction is the kernel's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

from hostaudit.checks import all_checks

MAPS = (Path(__file__).parent.parent / "bpfmaps.py").read_text()
PINS = "/sys/fs/bpf/tc/globals"
TABLE, POLICY = "lru_hash 14 56", "hash 12 24"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({"node": Spec("ns:bookworm")}):
        mount = "mkdir -p /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf"
        hosts.script("node", f"{mount}\ncat >/tmp/bpfmaps.py <<'END'\n{MAPS}END\n")
        yield write_inventory(tmp_path_factory.mktemp("cilium") / "inventory.ini", ["node"])


@pytest.fixture(autouse=True)
def none(source: Path) -> Iterator[None]:
    """Begin and end without maps."""
    del source
    yield
    hosts.script("node", f"pkill -f bpfmaps.py || :; rm -rf {PINS}")


def fill(name: str, most: int, number: int, what: str = TABLE) -> None:
    hosts.script("node", f"rm -f {PINS}/{name}; python3 /tmp/bpfmaps.py fill {PINS}/{name} {what} {most} {number}")


def drop(*reasons: int) -> None:
    words = " ".join(str(reason) for reason in reasons)
    hosts.script("node", f"setsid python3 /tmp/bpfmaps.py drops {PINS}/cilium_metrics {words} >/dev/null 2>&1 &")


def one(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def status(audit: Audit, check: str) -> str:
    (found,) = (f for f in audit.document["findings"] if f["check"] == check)
    return str(found["status"])


def test_a_map_that_evicts_is_the_first_cause_and_gone_with_a_larger_one(source: Path) -> None:
    fill("cilium_ct4_global", 100_000, 130_000)
    audit = run_hostaudit(source)
    found = one(audit, "cilium-ct-map-pressure")
    assert (found["grade"], found["severity"]) == ("active", "high")
    table = found["evidence"]["maps"]["cilium_ct4_global"]
    assert 99_000 <= table["entries"] <= table["max"] == 100_000
    assert audit.document["findings"][0]["check"] == "cilium-ct-map-pressure"
    fill("cilium_ct4_global", 200_000, 130_000)
    assert status(run_hostaudit(source, "--show", "pass", "--show", "n/a"), "cilium-ct-map-pressure") == "pass"


@pytest.mark.long
def test_three_quarters_are_a_risk(source: Path) -> None:
    fill("cilium_ct_any4_global", 50_000, 37_500)
    found = one(run_hostaudit(source), "cilium-ct-map-pressure")
    assert (found["grade"], found["severity"]) == ("risk", "medium")
    assert found["summary"] == "cilium_ct_any4_global: 37500 of 50000 (75%)"


def test_new_connections_that_are_not_tracked(source: Path) -> None:
    fill("cilium_ct4_global", 50_000, 60_000)
    drop(155, 133)
    audit = run_hostaudit(source)
    found = one(audit, "cilium-ct-insert-failed")
    assert found["grade"] == "active"
    assert found["evidence"]["dropped"] > 0
    assert "cilium_ct4_global is" in found["summary"]
    (cause,) = audit.document["causes"]
    assert cause["check"] == "cilium-ct-map-pressure"
    assert [symptom["check"] for symptom in cause["symptoms"]] == ["cilium-ct-insert-failed"]
    hosts.script("node", "pkill -f bpfmaps.py")
    assert status(run_hostaudit(source, "--show", "pass", "--show", "n/a"), "cilium-ct-insert-failed") == "pass"


@pytest.mark.long
def test_a_policy_map_that_is_full(source: Path) -> None:
    fill("cilium_policy_v2_01394", 1000, 1000, POLICY)
    fill("cilium_policy_v2_00002", 1000, 10, POLICY)
    found = one(run_hostaudit(source), "cilium-policy-map-pressure")
    assert (found["grade"], found["severity"]) == ("active", "high")
    assert found["summary"] == "cilium_policy_v2_01394: 1000 of 1000 entries (100%)"
    fill("cilium_policy_v2_01394", 2000, 1000, POLICY)
    assert run_hostaudit(source).failures("cilium-policy-map-pressure") == []


@pytest.mark.long
def test_translations_without_a_port(source: Path) -> None:
    fill("cilium_snat_v4_external", 50_000, 1000)
    drop(167)
    found = one(run_hostaudit(source), "cilium-nat-exhausted")
    assert found["grade"] == "active"
    assert "no source port left" in found["summary"]
    hosts.script("node", "pkill -f bpfmaps.py")
    assert status(run_hostaudit(source, "--show", "pass", "--show", "n/a"), "cilium-nat-exhausted") == "pass"


def test_drops_for_want_of_a_route(source: Path) -> None:
    fill("cilium_ct4_global", 50_000, 1000)
    drop(169, 133)
    found = one(run_hostaudit(source), "cilium-drops")
    assert found["grade"] == "active"
    assert "FIB lookup failed (169)" in found["summary"]
    assert "policy denied (133)" in found["evidence"]["reasons"]
    hosts.script("node", "pkill -f bpfmaps.py")
    assert status(run_hostaudit(source, "--show", "pass", "--show", "n/a"), "cilium-drops") == "pass"


def test_a_host_without_cilium_is_not_asked(source: Path) -> None:
    audit = run_hostaudit(source, "--show", "pass", "--show", "n/a")
    for check in [name for name in all_checks() if name.startswith("cilium-")]:
        assert status(audit, check) == "n/a"
