"""A connection tracking table filled until the kernel refuses packets: named with who fills it, and gone with them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.hosts import Spec

FILL = (Path(__file__).parent / "labkit/sh/fill_conntrack.py").read_text()
# A rule that makes the kernel track here, and new flows for as long as the lab lives: twenty a second, each from a port
# of its own. A refused one is EPERM for its sender. A full table would refuse our login too: that one is not tracked.
BUSY = r"""
nft add table inet t
nft 'add chain inet t raw { type filter hook prerouting priority raw; }'
nft add rule inet t raw tcp dport 22 notrack
nft 'add chain inet t rawout { type filter hook output priority raw; }'
nft add rule inet t rawout tcp sport 22 notrack
nft 'add chain inet t out { type filter hook output priority 0; }'
nft add rule inet t out ct state new counter
cat >/tmp/knock.py <<'END'
import socket, time
refused = 0
for port in range(20000, 60000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", port))
        try:
            s.sendto(b"?", ("127.0.0.1", 9))
        except PermissionError:
            refused += 1
            print(refused, flush=True)
    time.sleep(0.05)
END
setsid python3 /tmp/knock.py </dev/null >/tmp/refused 2>/dev/null &
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with hosts.up({"busy": Spec("ns:bookworm")}):
        hosts.script("busy", f"cat >/tmp/fill.py <<'END'\n{FILL}END\n{BUSY}")
        yield write_inventory(tmp_path_factory.mktemp("table") / "inventory.ini", ["busy"])


def filled(source: Path, mix: str, more: int = 0) -> Audit:
    """Audit the host while its table holds as many entries as it may, and ``more`` were tried."""
    limit = int(hosts.script("busy", "cat /proc/sys/net/netfilter/nf_conntrack_max"))
    if limit > 2**20:
        pytest.fail(f"this machine tracks {limit} connections: too many to fill a table in a test")
    hosts.script("busy", f"nice python3 /tmp/fill.py {limit + more} {mix} || :")
    return run_hostaudit(source)


def one(audit: Audit, check: str) -> dict[str, Any]:
    found = audit.failures(check)
    assert len(found) == 1, audit.document["findings"]
    return found[0]


def emptied(source: Path) -> Audit:
    hosts.script("busy", "conntrack -F")
    return run_hostaudit(source)


def test_a_full_table_is_the_first_cause(source: Path) -> None:
    audit = filled(source, "assured", more=500)
    found = one(audit, "conntrack-table-full")
    assert audit.failures()[0]["check"] == "conntrack-table-full"
    assert (found["grade"], found["severity"]) == ("active", "critical")
    assert found["evidence"]["drop"]["delta"] > 0, "the packets that the kernel refused while it was looked at"
    assert int(hosts.script("busy", "tail -n1 /tmp/refused")) > 0, "their sender saw it too"
    assert found["evidence"]["tcp_states"]["ESTABLISHED"] > 0.99 * found["evidence"]["max"]
    assert all(re.fullmatch(r"10\.1\.\d\.[123]", source) for source in found["evidence"]["sources"])
    assert len(found["evidence"]["sources"]) == 5
    assert found["evidence"]["targets"]["tcp 10.200.0.1:443"] > 0.99


def test_and_is_gone_with_its_entries(source: Path) -> None:
    audit = emptied(source)
    assert audit.failures("conntrack-table-full") == []
    assert audit.failures(grade="active") == [], "drops of the past do not make a finding"


def test_closed_connections_that_fill_it_are_named(source: Path) -> None:
    limit = int(hosts.script("busy", "cat /proc/sys/net/netfilter/nf_conntrack_max"))
    hosts.script("busy", f"nice python3 /tmp/fill.py {limit * 8 // 10} time-wait")
    audit = run_hostaudit(source)
    found = one(audit, "conntrack-timeout-long")
    assert found["evidence"]["state"] == "TIME_WAIT"
    assert one(audit, "conntrack-table-full")["grade"] == "risk", "nothing was refused yet"
    assert emptied(source).failures() == []
