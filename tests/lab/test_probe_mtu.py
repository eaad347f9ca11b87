"""``hostaudit probe mtu`` on real paths: a black hole, a path that says its limit, and a host's own limit.

a -- r -- b     10.1.0.0/24 and 10.2.0.0/24: the router's link to b takes 1400 bytes
a == s == b     10.3.0.0/24: both hosts have jumbo frames, the switch between them has not
a .. vx .. b    172.30.0.0/30: VXLAN of 1450 bytes over the first path
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts
from labkit.audit import HOSTAUDIT, run_hostaudit, write_inventory
from labkit.outage import ip, sysctl
from labkit.settings import sh

BARE = ("router", "switch2")
FAR, NEAR, ROUTER = "10.2.0.2", "10.1.0.2", "10.1.0.1"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    spec = hosts.Spec("ns:bookworm", groups=("ends",))
    with hosts.up({"a": spec, "b": spec}):
        try:
            build()
            yield write_inventory(tmp_path_factory.mktemp("mtu") / "inventory.ini", ("a", "b"))
        finally:
            for name in (*BARE, "a", "b"):
                subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def build() -> None:
    for name in BARE:
        sh("ip", "netns", "add", name)
    for name in ("a", "b"):
        sh("ip", "netns", "attach", name, hosts.leader(name))
    sysctl("router", {"net.ipv4.ip_forward": 1, "net.ipv4.icmp_ratelimit": 0})
    ip("link add s type bridge", "link set s up", netns="switch2")
    for number, (name, other) in enumerate((("a", "b"), ("b", "a")), 1):
        ip(f"link add r{name} type veth peer name eth1 netns {name}", netns="router")
        ip(f"addr add 10.{number}.0.1/24 dev r{name}", f"link set r{name} up", netns="router")
        ip(f"link add p{name} type veth peer name eth2 netns {name}", f"link set p{name} master s up", netns="switch2")
        ip(f"addr add 10.{number}.0.2/24 dev eth1", "link set eth1 up", netns=name)
        ip(f"addr add 10.3.0.{number}/24 dev eth2", "link set eth2 mtu 9000 up", netns=name)
        ip(f"route add 10.{3 - number}.0.0/24 via 10.{number}.0.1", netns=name)
        tunnel = f"link add vx type vxlan id 7 local 10.{number}.0.2 remote 10.{3 - number}.0.2 dstport 4789"
        ip(tunnel, f"addr add 172.30.0.{number}/30 dev vx", "link set vx mtu 1450 up", netns=name)
        assert other
    narrow(1400)


def narrow(size: int) -> None:
    """Give the link between router and b this MTU, at both ends."""
    ip(f"link set rb mtu {size}", netns="router")
    ip(f"link set eth1 mtu {size}", netns="b")


def probe(source: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    command = [str(HOSTAUDIT), "probe", "mtu", "-i", str(source), "--from", "ends", *words, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["mtu"]


def test_a_path_that_says_its_limit_is_healthy(source: Path) -> None:
    code, (path,) = probe(source, FAR)
    assert (code, path["vantage"], path["verdict"], path["mtu"]) == (0, "a", "pmtud", 1400), path
    assert (path["said_by"], path["said_mtu"], path["echo"]) == (ROUTER, 1400, "udp")


@contextmanager
def silence() -> Iterator[None]:
    """Have the router drop its own ICMP errors."""
    rules = "add table ip t\nadd chain ip t o { type filter hook output priority 0; }\n"
    sh("ip", "netns", "exec", "router", "nft", "-f", "-", input=rules + "add rule ip t o icmp type 3 drop\n")
    try:
        yield
    finally:
        sh("ip", "netns", "exec", "router", "nft", "delete", "table", "ip", "t")


@pytest.mark.usefixtures("source")
def test_run_names_the_black_hole(tmp_path: Path) -> None:
    declared = write_inventory(tmp_path / "inventory.ini", ("a",), {"a": {"hostaudit_vips": FAR}})
    with silence():
        result = run_hostaudit(declared, "--probe", "--probe-from", "a", limit=180)
    (found,) = result.failures("pmtu-blackhole", "active")
    assert (found["hosts"], found["summary"]) == (["a"], f"packets above 1400 bytes to {FAR} vanish in silence")


def test_silence_is_a_black_hole(source: Path) -> None:
    with silence():
        code, (path,) = probe(source, FAR)
    assert (code, path["verdict"], path["mtu"], path["lost"]) == (8, "black-hole", 1400, 1401), path
    assert path["said_by"] == ""


def test_the_own_limit_of_a_host_is_no_black_hole(source: Path) -> None:
    """1420 bytes, as on a WireGuard interface, and the same on the way."""
    ip("link set eth1 mtu 1420", netns="a")
    ip("link set ra mtu 1420", netns="router")
    narrow(1420)
    try:
        code, (path,) = probe(source, FAR)
    finally:
        ip("link set eth1 mtu 1500", netns="a")
        ip("link set ra mtu 1500", netns="router")
        narrow(1400)
    assert (code, path["verdict"], path["mtu"], path["local_mtu"]) == (0, "local", 1420, 1420), path


def test_a_fleet_is_measured_by_segment_both_ways(source: Path) -> None:
    code, paths = probe(source)
    found = {(p["segment"].partition(" ")[0], p["vantage"]): p for p in paths}
    assert code == 8, [(p["address"], p["verdict"], p["echo"], p["error"]) for p in paths]
    for host in ("a", "b"):
        jumbo = found["10.3.0.0/24", host]
        assert (jumbo["verdict"], jumbo["mtu"], jumbo["lost"]) == ("black-hole", 1500, 1501), jumbo
        tunnel = found["172.30.0.0/30", host]
        assert (tunnel["verdict"], tunnel["mtu"], tunnel["echo"]) == ("local", 1450, "udp"), tunnel
        assert "vxlan 1450" in tunnel["segment"]
        assert found["10.77.0.0/24", host]["verdict"] == "ok"
    assert len(paths) == 6


def test_where_no_agent_answers_icmp_does(source: Path) -> None:
    code, paths = probe(source, ROUTER)
    assert code == 0
    assert {p["vantage"]: (p["verdict"], p["echo"]) for p in paths} == {"a": ("ok", "icmp"), "b": ("local", "icmp")}
    assert NEAR not in {p["address"] for p in paths}
