"""The installed agent on Debian 11, 12 and 13: what it sees at night is named in the morning; it leaves no trace.

The burst is real: SYN-ACKs without a SYN, from one namespace behind the host to another, on a host that routes and
drops what connection tracking calls INVALID.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import Audit, run_hostaudit, write_inventory
from roles.play import Played, ok, play

pytestmark = pytest.mark.long

NAMES = {"b11": "bullseye", "b12": "bookworm", "b13": "trixie"}
BURST = 1240
TICK = 10
"""Seconds"""
TEXTFILES = "/var/lib/node-exporter"

# Two networks that the host routes between. Debian 11 drops with legacy iptables, the others with nftables.
ROUTER = """\
sysctl -qw net.ipv4.ip_forward=1
for side in 1 2; do
  ip netns add side$side
  ip link add to$side type veth peer name eth0 netns side$side
  ip addr add 10.77.$side.1/24 dev to$side
  ip link set to$side up
  ip -n side$side addr add 10.77.$side.2/24 dev eth0
  ip -n side$side link set eth0 up
  ip -n side$side route add default via 10.77.$side.1
done
. /etc/os-release
if [ "$VERSION_ID" = 11 ]; then
  iptables-legacy -A FORWARD -m conntrack --ctstate INVALID -j DROP
else
  nft 'table ip guests { chain forward { type filter hook forward priority 0; ct state invalid counter drop; }; }'
fi
"""
SYN_ACKS = """\
import socket, struct, sys
def total(data):
    n = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    n = (n >> 16) + (n & 0xFFFF)
    return ~(n + (n >> 16)) & 0xFFFF
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
    for port in range(20000, 20000 + int(sys.argv[1])):
        head = struct.pack("!HHIIBBHHH", 8080, port, 1, 1, 5 << 4, 0x12, 1000, 0, 0)
        pseudo = socket.inet_aton("10.77.1.2") + socket.inet_aton("10.77.2.2") + struct.pack("!BBH", 0, 6, len(head))
        head = head[:16] + struct.pack("!H", total(pseudo + head)) + head[18:]
        s.sendto(head, ("10.77.2.2", 0))
"""
# Everything on the host but what lives by itself; with what systemd and the user database know.
ALL = """\
cd /
find . -xdev \\( -path ./proc -o -path ./sys -o -path ./run -o -path ./tmp -o -path ./var/tmp -o -path ./var/log \
  -o -path ./root/.ansible -o -name '*.pyc' \\) -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k 2
find . -xdev \\( -path ./proc -o -path ./sys -o -path ./run -o -path ./tmp -o -path ./var/tmp -o -path ./var/log \
  -o -path ./root/.ansible -o -name '*.pyc' \\) -prune -o -printf '%m %u %g %y %l %p\\n' | LC_ALL=C sort -k 6
systemctl list-unit-files --no-legend --no-pager | grep -v transient
systemctl list-units --all --no-legend --no-pager --plain | grep -c hostaudit || :
getent passwd
getent group
"""
RING = "cat /var/lib/hostaudit/ring/*.jsonl"


@dataclass
class Story:
    """A night; every test looks at another moment of it."""

    before: dict[str, list[str]] = field(default_factory=dict)
    checked: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    plays: dict[str, Played] = field(default_factory=dict)
    rings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    security: dict[str, str] = field(default_factory=dict)
    journal: dict[str, str] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    audit: Audit | None = None
    second: Audit | None = None


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with hosts.up({name: hosts.Spec(f"boot:{suite}") for name, suite in NAMES.items()}):
        yield tell(tmp_path_factory.mktemp("agent"))


def everything() -> dict[str, list[str]]:
    return {name: hosts.script(name, ALL).splitlines() for name in NAMES}


def ring(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in hosts.script(name, RING).splitlines()]


def dropped(name: str) -> int:
    return sum(packets for record in ring(name) for packets in record.get("r", {}).values())


def tell(folder: Path) -> Story:
    told = Story()
    bundle = folder / "hostaudit-agent.pyz"
    subprocess.run([sys.executable, "-m", "hostaudit.bundle", str(bundle)], check=True, capture_output=True)
    given = {
        "agent_bundle": str(bundle),
        "agent_interval": TICK,
        "agent_splay": 0,
        "agent_textfile_directory": TEXTFILES,
    }
    for name in NAMES:
        hosts.script(name, ROUTER)
        hosts.script(name, f"cat >/root/syn-acks.py <<'END'\n{SYN_ACKS}END\nmkdir -p {TEXTFILES}")
    told.before = everything()
    told.plays["check"] = play("agent.yml", given, "--check")
    told.checked = everything()
    told.plays["install"] = play("agent.yml", given)
    told.plays["again"] = play("agent.yml", given)
    told.began = time.time()
    for name in NAMES:
        hosts.script(name, f"ip netns exec side1 python3 /root/syn-acks.py {BURST}")
    told.ended = time.time()
    hosts.wait(lambda: all(dropped(name) >= BURST for name in NAMES), 150, "no tick saw the burst")
    told.audit = run_hostaudit(write_inventory(folder / "inventory.ini", NAMES), "--no-store")
    for name in NAMES:
        told.rings[name] = ring(name)
        told.metrics[name] = hosts.script(name, f"cat {TEXTFILES}/hostaudit_agent.prom; ls -A {TEXTFILES}")
        told.journal[name] = hosts.script(name, "journalctl -q -u hostaudit-agent.service -o cat || :")
        told.security[name] = hosts.script(
            name, "systemd-analyze security hostaudit-agent.service --no-pager | tail -n 1"
        )
    away = given | {"agent_state": "absent"}
    told.plays["check away"] = play("agent.yml", away, "--check")
    told.plays["away"] = play("agent.yml", away)
    told.after = everything()
    told.plays["away again"] = play("agent.yml", away)
    told.second = run_hostaudit(folder / "inventory.ini", "--no-store")
    return told


def test_check_mode_says_what_the_installation_does_and_does_nothing(story: Story) -> None:
    assert ok(story.plays["check"]).changed == ok(story.plays["install"]).changed
    assert set(story.plays["install"].changed) == set(NAMES)
    assert story.checked == story.before


def test_a_second_installation_changes_nothing(story: Story) -> None:
    assert ok(story.plays["again"]).changed == {}


@pytest.mark.parametrize("name", NAMES)
def test_ticks_saw_the_burst_and_everything_else(story: Story, name: str) -> None:
    records = story.rings[name]
    assert sum(sum(r.get("r", {}).values()) for r in records) == BURST
    assert sum(r.get("d", {}).get("conntrack.invalid", 0) for r in records) >= BURST
    assert [r["u"] for r in records if "u" in r] == [], "something could not be read under the service's restrictions"
    assert all("c" in r for r in records)


@pytest.mark.parametrize("name", NAMES)
def test_the_audit_afterwards_names_it_with_its_time(story: Story, name: str) -> None:
    assert story.audit is not None
    assert story.audit.hosts("ok").keys() == set(NAMES), story.audit.document["hosts"]
    found = [f for f in story.audit.failures("conntrack-invalid-drop") if f["host"] == name]
    assert len(found) == 1, story.audit.document["findings"]
    assert (found[0]["grade"], found[0]["severity"]) == ("risk", "medium"), "it is over"
    seconds = range(int(story.began) - 2 * TICK, int(story.ended) + 3 * TICK)
    times = {time.strftime("%d %b %H:%M", time.gmtime(second)) for second in seconds}
    assert f"dropped {BURST} INVALID packets " in found[0]["summary"]
    assert any(f"packets {moment}" in found[0]["summary"] for moment in times), found[0]["summary"]
    assert found[0]["evidence"]["earlier"]["seen"][0]["total"] == BURST


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_whole(story: Story, name: str) -> None:
    text, _, listing = story.metrics[name].rpartition("\nhostaudit_agent.prom")
    assert listing == "\n", "no other file is there"
    assert text.count(f'{{backend="{"iptables-legacy" if name == "b11" else "nftables"}"') == 1
    assert f"}} {BURST}" in text


@pytest.mark.parametrize("name", NAMES)
def test_it_is_quiet_in_the_journal_and_confined(story: Story, name: str) -> None:
    said = story.journal[name].splitlines()
    if name == "b11":  # systemd 247 does not leave out its own lines about a unit
        said = [line for line in said if not line.startswith(("Starting ", "Finished ", "hostaudit-agent.service: "))]
    assert said == []
    exposure = float(story.security[name].split(": ")[1].split()[0])
    assert exposure < 3.5, story.security[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_without_a_trace(story: Story, name: str) -> None:
    assert ok(story.plays["check away"]).changed == ok(story.plays["away"]).changed
    assert story.after[name] == story.before[name]


def test_what_is_gone_needs_not_go_again(story: Story) -> None:
    assert ok(story.plays["away again"]).changed == {}
    assert story.second is not None
    assert [f for f in story.second.failures("conntrack-invalid-drop") if "INVALID packets" in f["summary"]] == []
