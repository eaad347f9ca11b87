"""``run --probe`` with what only it asks: name servers and management ports, from a host over SSH."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from labkit import hosts, inventory
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.nameserver import SERVER
from labkit.servers import listening

AAAA = "28"
PROBES = "61000-64999"
"""Source ports of probes: rules for them touch no other session."""


class Pair:
    """A vantage point, and a host that it asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = inventory.load()["w1"]["address"]

    def run(self, **declared: str) -> Audit:
        """Audit both, with a probe from c1."""
        source = write_inventory(self.folder / "inventory.ini", ("c1", "w1"), {"w1": declared})
        return run_hostaudit(source, "--probe", "--probe-from", "c1", "--show", "pass", limit=180)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with hosts.up({name: hosts.Spec("ns:bookworm") for name in ("c1", "w1")}):
        # the stall of five seconds is the resolver's own: here it waits for one
        hosts.script("c1", "rm -f /etc/resolv.conf; echo 'options timeout:1 attempts:2' >/etc/resolv.conf")
        yield Pair(tmp_path_factory.mktemp("run"))


@contextmanager
def dropped(rule: str) -> Iterator[None]:
    """Drop what comes in to w1 as the rule says."""
    rules = f"""add table ip lab
    add chain ip lab in {{ type filter hook input priority 0; }}
    add rule ip lab in {rule} drop
    """
    hosts.run("w1", "nft", "-f", "-", input=rules)
    try:
        yield
    finally:
        hosts.run("w1", "nft", "delete", "table", "ip", "lab")


def statuses(result: Audit, check: str) -> list[tuple[str, list[str]]]:
    return [(f["status"], f["hosts"]) for f in result.document["findings"] if f["check"] == check]


def test_a_name_server_that_drops_aaaa_is_a_stall_for_every_lookup(pair: Pair) -> None:
    with listening("w1", SERVER, AAAA):
        result = pair.run(hostaudit_dns=f"{{'{pair.address}': 'shop.example'}}")
    (found,) = result.failures("dns-latency", "active")
    assert found["hosts"] == ["c1"]
    assert "never answers AAAA" in found["summary"]
    (lookups,) = found["evidence"]["lookups"]
    assert lookups["resolver_timeout_s"] == 1
    assert min(lookups["lookup_ms"]) >= 2000
    assert statuses(result, "dns-conntrack-race") == [("pass", ["c1"])], "a type that is left out is no race"


def test_lookups_that_lose_a_packet_now_and_then_are_told(pair: Pair) -> None:
    """Each seventh query is lost; the repetition is answered, a second later."""
    with listening("w1", SERVER, ""), dropped("udp dport 53 numgen inc mod 7 == 0"):
        result = pair.run(hostaudit_dns=f"{{'{pair.address}': 'shop.example'}}")
    (found,) = result.failures("dns-latency", "active")
    assert "lookups at" in found["summary"]
    assert "s or longer" in found["summary"]
    assert result.failures("dns-conntrack-race") == [], "no entry was refused on c1"


def test_a_name_server_that_answers_and_a_port_that_answers_pass(pair: Pair) -> None:
    with listening("w1", SERVER, ""):
        result = pair.run(hostaudit_dns=f"{{'{pair.address}': 'shop.example'}}", hostaudit_management="22")
    for check in ("dns-latency", "dns-conntrack-race", "mgmt-plane-flap"):
        assert statuses(result, check) == [("pass", ["c1"])], check
    assert statuses(result, "vip-handshake-failing") == [], "a management port is no service"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (f"tcp dport 22 tcp sport {PROBES} tcp sport & 1 == 1", "no answer to the SYN"),
        (f"tcp dport 22 tcp sport {PROBES} tcp sport & 1 == 1 tcp flags & syn == 0", "connected, then silence"),
    ],
    ids=["no answer", "connects, then hangs"],
)
def test_a_management_port_that_comes_and_goes(pair: Pair, rule: str, said: str) -> None:
    with dropped(rule):
        result = pair.run(hostaudit_management="22")
    (found,) = result.failures("mgmt-plane-flap", "active")
    assert found["summary"] == f"w1:22 comes and goes: 5 of 10 handshakes fail ({said})"
    assert (found["hosts"], found["severity"]) == (["c1"], "high")
    assert "odd source ports fail" in found["evidence"]["series"][0]["pattern"]
