"""The outage on real packets: first that it is the outage, then that hostaudit names its cause."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import outage
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.outage import Outage

CHECK = "conntrack-invalid-drop"
N = 10
EVEN_OK = Counter({"ok via w1": N})
ODD_OK = Counter({"ok via w2": N})


QUICK = ("bridge", "iptables-legacy"), ("bridge", "nftables")
OTHERS = ("bridge", "iptables-nft"), ("route", "iptables-legacy")


@pytest.fixture(params=[*QUICK, *(pytest.param(p, marks=pytest.mark.long) for p in OTHERS)], ids="-".join)
def net(request: pytest.FixtureRequest) -> Iterator[Outage]:
    """A new one for every test: the packets of a hung connection go on for a minute after its test."""
    mode, backend = request.param
    with outage.running(mode, backend) as running:
        yield running


@pytest.fixture
def dropping(net: Outage) -> Outage:
    """Both hypervisors drop INVALID."""
    for name in outage.HYPERVISORS:
        net.drop(name)
    return net


def audit(net: Outage, tmp_path: Path, **declared: str) -> Audit:
    """Audit the four hosts while connections of the asymmetric class are tried."""
    variables = {name: {"hostaudit_asymmetric": reason} for name, reason in declared.items()}
    names = (*outage.HYPERVISORS, *outage.WORKERS)
    source = write_inventory(tmp_path / "inventory.ini", names, variables)
    with net.keep_trying():
        return run_hostaudit(source)


def moved(finding: dict[str, Any]) -> int:
    """Packets that the rules of a finding dropped between its samples."""
    return sum(rule["delta"] or 0 for rule in finding["evidence"]["rules"])


# ---- the fixture itself


def test_without_the_rule_every_handshake_works(net: Outage) -> None:
    assert net.handshakes(N) == {"even": EVEN_OK, "odd": ODD_OK}


def test_the_rule_on_both_loses_exactly_the_asymmetric_handshakes(dropping: Outage) -> None:
    assert dropping.handshakes(N) == {"even": EVEN_OK, "odd": Counter({"no answer to the SYN": N})}
    # h1 sees both halves of the symmetric flows and only requests of the others: nothing is INVALID to it
    assert dropping.dropped("h1") == 0
    # per connection: SYN-ACK for the SYN, for its one retransmission, and the worker's own retransmission
    assert N <= dropping.dropped("h2") <= 4 * N
    assert dropping.invalid("h2") >= dropping.dropped("h2")


def test_half_a_fix_turns_connect_fails_into_connects_then_hangs(dropping: Outage) -> None:
    dropping.allow("h2")
    assert dropping.handshakes(N) == {"even": EVEN_OK, "odd": Counter({"connected, then silence": N})}
    # now the client's ACK, which h1 saw no SYN-ACK for, and its data are what is INVALID
    assert dropping.dropped("h1") >= N
    assert dropping.dropped("h2") == 0


def test_the_whole_fix_cures_it(dropping: Outage) -> None:
    dropping.allow("h2")
    dropping.allow("h1")
    assert dropping.handshakes(N) == {"even": EVEN_OK, "odd": ODD_OK}
    assert [dropping.dropped(h) for h in outage.HYPERVISORS] == [0, 0]


# ---- hostaudit on it


def test_the_hypervisor_that_drops_is_named_with_its_counter(dropping: Outage, tmp_path: Path) -> None:
    result = audit(dropping, tmp_path)
    found = {f["host"]: f for f in result.failures(CHECK, "active")}
    assert list(found) == ["h2"], found
    assert moved(found["h2"]) >= 3
    (half,) = result.failures("asymmetric-path")
    assert (half["host"], half["evidence"]["waiting_on"]) == ("h2", "h1"), "where the SYN went, and the SYN-ACK"
    others = {(f["check"], f["host"]) for f in result.failures(grade="active")} - {(CHECK, "h2")}
    assert others <= {("tcp-retransmit-high", "w2")}, "its server sends again; nothing else is wrong on these hosts"
    assert result.code == 8
    assert not result.hosts("unreachable")


def test_half_a_fix_moves_the_finding_to_the_other_hypervisor(dropping: Outage, tmp_path: Path) -> None:
    dropping.allow("h2")
    reason = "DSR: w2 answers for the load balancer on w1"
    result = audit(dropping, tmp_path, h1=reason, h2=reason)
    found = {f["host"]: f for f in result.failures(CHECK)}
    assert list(found) == ["h1"], found
    assert found["h1"]["grade"] == "active"
    assert moved(found["h1"]) >= 3
    if dropping.backend_name == "iptables-legacy":
        assert found["h1"]["remedy"]["role"] == "pve_firewall"
    else:  # nobody knows who would write the rule again: advice, not a role
        assert found["h1"]["advice"]


def test_after_the_whole_fix_the_check_is_silent(dropping: Outage, tmp_path: Path) -> None:
    dropping.allow("h1")
    dropping.allow("h2")
    reason = "DSR: w2 answers for the load balancer on w1"
    result = audit(dropping, tmp_path, h1=reason, h2=reason)
    assert result.failures(CHECK) + result.failures("asymmetric-path") == []
    assert result.failures(grade="active") == []
