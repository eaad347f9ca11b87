from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit_agent.collectors import conntrack
from hostaudit_agent.collectors.conntrack import Sample
from hostaudit_agent.netlink import attribute
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

AGENT = Path(conntrack.__file__).parents[2]
NEW = (
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  "
    "expect_new expect_create expect_delete search_restart\n"
    "00000007  00000001 00000002 00000000 0000000a 00000000 00000000 00000003 00000000 00000004 00000005 00000006 "
    "00000007  00000000 00000000 00000000 00000008\n"
    "00000007  00000000 00000000 00000000 ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000 "
    "00000000  00000000 00000000 00000000 00000000\n"
)
OLD = (
    "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  "
    "expect_new expect_create expect_delete search_restart\n"
    "00000007  00000011 00000002 00000003 0000000a 00000005 00000006 00000007 00000008 00000000 00000000 00000000 "
    "00000000  00000000 00000000 00000000 00000000\n"
)


def tree(top: Path, **files: str) -> Root:
    for name, content in files.items():
        path = top / "proc/sys/net/netfilter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return Root(str(top))


def refuse(part: str, reason: str) -> None:
    raise AssertionError(f"{part}: {reason}")


def test_columns_are_read_by_name() -> None:
    stats = conntrack.parse_procfs(NEW)
    assert stats[0] == {
        "clash_resolve": 1, "found": 2, "invalid": 10, "chain_toolong": 3, "insert": 0, "insert_failed": 4,
        "drop": 5, "early_drop": 6, "error": 7, "search_restart": 8,
    }  # fmt: skip
    assert stats[1]["invalid"] == 0xFFFFFFFF
    assert conntrack.total(stats)["invalid"] == 10 + 0xFFFFFFFF


def test_old_columns_are_not_taken_for_new_counters() -> None:
    stats = conntrack.parse_procfs(OLD)[0]
    assert "clash_resolve" not in stats
    assert "chain_toolong" not in stats
    assert (stats["searched"], stats["delete_list"], stats["new"]) == (0x11, 7, 3)


@pytest.mark.parametrize("text", ["", "entries found\n1 2\n", "entries invalid\n1\n", "entries invalid\n1 x\n"])
def test_a_file_that_is_something_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid|numbers|literal"):
        conntrack.parse_procfs(text)


@given(st.text(alphabet="invalid entries0123456789abcdef \n", max_size=300))
def test_garbage_is_an_error_or_numbers(text: str) -> None:
    try:
        stats = conntrack.parse_procfs(text)
    except ValueError:
        return
    assert all(isinstance(value, int) for counters in stats.values() for value in counters.values())


def test_counters_wrap_per_cpu() -> None:
    before = Sample("procfs", {0: {"invalid": 0xFFFFFFFE}, 1: {"invalid": 5}}, 9, None, "")
    now = Sample("procfs", {0: {"invalid": 3}, 1: {"invalid": 6}}, 4, None, "")
    assert conntrack.difference(before, now) == {"invalid": 6, "count": -5}


def test_different_sources_cannot_be_compared() -> None:
    one = Sample("procfs", {0: {}}, 1, 1, "")
    assert conntrack.difference(one, one._replace(source="nfnetlink")) is None
    assert conntrack.difference(one, one._replace(stats={0: {}, 1: {}})) is None


def test_netlink_statistics_by_cpu() -> None:
    payload = b"\0\0\0\3" + attribute(4, b"\0\0\0\x2a") + attribute(15, b"\0\0\0\1") + attribute(99, b"\0\0\0\1")
    assert conntrack.parse_stats([payload]) == {3: {"invalid": 42, "chain_toolong": 1}}
    assert conntrack.parse_global(bytes(4) + attribute(1, b"\0\0\0\7")) == (7, None)


def test_a_kernel_without_connection_tracking(tmp_path: Path) -> None:
    found = conntrack.collect(Root(str(tmp_path)), None, refuse)
    assert (found.loaded, found.count, found.timeouts) == (False, None, {})


def test_a_captured_tree(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        nf_conntrack_count="7", nf_conntrack_max="262144", nf_conntrack_buckets="65536",
        nf_conntrack_tcp_timeout_established="432000", nf_conntrack_udp_timeout="30",
        nf_conntrack_udp_timeout_stream="120", nf_conntrack_generic_timeout="600",
        nf_conntrack_dccp_timeout_request="240", nf_conntrack_tcp_loose="1",
    )  # fmt: skip
    (tmp_path / "proc/net/stat").mkdir(parents=True)
    (tmp_path / "proc/net/stat/nf_conntrack").write_text(NEW)
    before = conntrack.sample(root)
    found = conntrack.collect(root, before, refuse)
    assert (found.source, found.count, found.max, found.buckets, found.hashsize) == ("procfs", 7, 262144, 65536, None)
    assert found.timeouts == {
        "tcp_established": 432000, "udp": 30, "udp_stream": 120, "generic": 600, "dccp_request": 240,
    }  # fmt: skip
    assert found.per_cpu[1] == {"cpu": 1, "invalid": 0xFFFFFFFF}
    assert found.delta is not None
    assert set(found.delta.values()) == {0}
    assert found.census is None


def test_what_exists_and_is_no_number_is_unread(tmp_path: Path) -> None:
    said: list[str] = []
    root = tree(tmp_path, nf_conntrack_count="7", nf_conntrack_buckets="many", nf_conntrack_udp_timeout="")
    found = conntrack.collect(root, None, lambda part, _: said.append(part))
    assert said == ["stats", "buckets", "timeouts/udp"]
    assert found.buckets is None


# ---- a real kernel


@pytest.fixture
def host(netns: Callable[[], Any]) -> Any:
    space = netns()
    space.ip("link set lo up")
    space.run("nft", "table inet t { chain in { type filter hook input priority 0; ct state invalid counter drop; }; }")
    return space


def collect(space: Any, before: object = None, *, census: bool = False) -> Any:
    with space.entered():
        found = conntrack.collect(Root(), before, refuse)
        conntrack.later(Root(), found, refuse, census=census)
        return found


def by_tool(space: Any) -> dict[str, int]:
    """Return conntrack -S, summed over CPUs."""
    sums: dict[str, int] = {}
    for name, value in re.findall(r"(\w+)=(\d+)", space.run("conntrack", "-S")):
        sums[name] = sums.get(name, 0) + int(value)
    sums["chain_toolong"] = sums.pop("chaintoolong", 0)
    return {name: value for name, value in sums.items() if name != "cpu"}


@pytest.mark.lab
def test_the_same_as_conntrack_and_pyroute2_say(host: Any, syn_ack: Callable[..., None]) -> None:
    from pyroute2 import NFCTSocket

    with host.entered():
        before = conntrack.sample(Root())
        syn_ack(5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", 9))
    found = collect(host, before)
    tool = by_tool(host)
    assert found.source == "nfnetlink"
    assert found.stats["invalid"] == found.delta["invalid"] == tool["invalid"]
    assert found.delta["invalid"] == 10  # over lo each packet is looked at twice: on its way out and in
    assert {name: found.stats[name] for name in tool if name in found.stats} == tool
    assert found.count == found.delta["count"] == int(host.run("conntrack", "-C"))
    with host.entered(), NFCTSocket() as reference:
        theirs = {m["res_id"]: m for m in reference.stat()}
        (size,) = reference.conntrack_max_size()
    assert found.max == size.get_attr("CTA_STATS_GLOBAL_MAX_ENTRIES")
    for row in found.per_cpu:
        message = theirs[row["cpu"]]
        ours = {name: value for name, value in row.items() if name != "cpu"}
        attrs = {name[len("CTA_STATS_") :].lower(): value for name, value in message["attrs"]}
        assert ours == {name: value for name, value in attrs.items() if value}


@pytest.mark.lab
def test_limits_belong_to_the_first_namespace(host: Any) -> None:
    found = collect(host)
    assert found.max_writable is False
    assert found.timeouts["tcp_established"] == 432000  # a new namespace has the kernel's defaults


@pytest.mark.lab
def test_without_rights_procfs_says_the_same(host: Any, syn_ack: Callable[..., None]) -> None:
    with host.entered():
        syn_ack(3)
    code = (
        "from hostaudit_agent.collectors import conntrack\nfrom hostaudit_agent.root import Root\n"
        "found = conntrack.collect(Root(), conntrack.sample(Root()), print)\n"
        "print(found.source, found.stats['invalid'], len(found.stats))"
    )
    bare = ("setpriv", "--bounding-set", "-all", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    said = host.run(*bare, "env", f"PYTHONPATH={AGENT}", "/usr/bin/python3", "-c", code)
    assert said.splitlines()[-1] == f"procfs 6 {len(collect(host).stats)}"
    assert "needs root" in said  # the hash size
