"""What the agent says of every kind of device in Debian's kernel, against `ip` and the kernel's own MTUs."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from labkit import hosts

from hostaudit.bundle import build
from hostaudit_agent.snapshot import Link, Snapshot

Seen = tuple[dict[str, Any], dict[str, Link]]
"""Links by name: what `ip` shows, and what the agent says."""

CARRIED = ("vlan", "macvlan", "ipvlan", "macsec")
TUNNELS = ("vx", "vx6", "gnv", "gnv6", "ipip1", "ipip2", "sit1", "gre1", "gre2", "tap1", "ip6t", "ip6n", "g6", "g6t")
"""Tunnels to a known remote: the kernel sizes them by the device below when they are made."""


def agent(name: str) -> Snapshot:
    """Run the agent inside a machine."""
    text = base64.b64encode(build()).decode()
    hosts.run(name, "sh", "-ec", "base64 -d >/run/agent.pyz", input=text)
    document = hosts.run(name, "python3", "/run/agent.pyz", "--interval", "0")
    return msgspec.json.decode(document, type=Snapshot)


@pytest.fixture(scope="module", params=["vm12", "vm13"])
def seen(machines: list[str], request: pytest.FixtureRequest) -> Iterator[Seen]:
    del machines
    name = request.param
    hosts.script(name, (Path(__file__).parent / "links.sh").read_text())
    theirs = {link["ifname"]: link for link in json.loads(hosts.run(name, "ip", "-j", "-d", "addr"))}
    answer = agent(name)
    assert answer.link
    assert [u for u in answer.unread if u.surface.startswith("link")] == []
    yield theirs, {link.name: link for link in answer.link.links}
    hosts.script(name, "systemctl reboot")  # devices of the kernel end with it
    hosts.wait(lambda: "eth1.100" not in links_of(name), 600, f"{name} does not come back")
    hosts.ready(name)


def links_of(name: str) -> str:
    try:
        return hosts.run(name, "ip", "-br", "link")
    except Exception:  # noqa: BLE001 - between two boots anything may fail
        return "eth1.100"


def test_every_device_is_there_with_its_kind(seen: Seen) -> None:
    theirs, ours = seen
    assert set(ours) == set(theirs)
    assert {n: link.kind for n, link in ours.items()} == {
        n: link.get("linkinfo", {}).get("info_kind", "") for n, link in theirs.items()
    }
    assert {"vlan", "bridge", "bond", "wireguard", "geneve", "vxlan", "ipip", "sit", "gre", "gretap", "ip6tnl"} <= {
        link.kind for link in ours.values()
    }


def test_what_all_devices_have(seen: Seen) -> None:
    theirs, ours = seen
    for name, link in ours.items():
        other = theirs[name]
        flags = other["flags"]
        addresses = {f"{a['local']}/{a['prefixlen']}" for a in other["addr_info"]}
        mac = other["address"] if other["link_type"] == "ether" else ""
        expected = {
            "index": other["ifindex"], "mtu": other["mtu"], "up": "UP" in flags, "loopback": "LOOPBACK" in flags,
            "master": other.get("master", ""), "mac": mac,
        }  # fmt: skip
        said = {key: getattr(link, key) for key in expected}
        if other["link_type"] == "loopback":
            said["mac"] = ""
        assert said == expected, name
        assert set(link.addresses) == addresses, name


def test_what_carries_each_device(seen: Seen) -> None:
    theirs, ours = seen
    for name, link in ours.items():
        if link.kind in CARRIED:
            assert (link.underlay, link.underlay_by) == (theirs[name]["link"], "link"), name
    assert ours["vx"].underlay == ours["vxm"].underlay == "eth1"
    assert {ours[name].underlay for name in TUNNELS} == {"eth1"}
    assert ours["wg0"].underlay_by == "default route"
    assert ours["wg0"].underlay == "eth0"


def test_details(seen: Seen) -> None:
    theirs, ours = seen
    for name, link in ours.items():
        data = theirs[name].get("linkinfo", {}).get("info_data", {})
        details = link.details
        if link.kind in ("vlan", "vxlan", "geneve") and "id" in data:
            assert details.get("id", "0") == str(data["id"]), name
        if link.kind in ("vxlan", "geneve"):
            assert details["port"] == str(data["port"]), name
            assert ("external" in details) == bool(data.get("external")), name
        for end in ("remote", "local"):
            there = data.get(end) or data.get(f"{end}6") or (data.get("group", "") if end == "remote" else "")
            if link.kind in ("vxlan", "geneve", "ipip", "sit", "gre", "gretap", "ip6tnl", "ip6gre", "ip6gretap"):
                assert details.get(end, "") == ("" if there in ("any", "0.0.0.0", "::") else there), name
    assert ours["br0"].details["vlan_filtering"] == "1"
    assert ours["br1"].details["vlan_filtering"] == "0"


def test_overheads_are_those_that_the_kernel_reckons_with(seen: Seen) -> None:
    """The kernel makes a new tunnel as large as fits below it: the difference is what it adds."""
    theirs, ours = seen
    below = theirs["eth1"]["mtu"]
    reckoned = {name: below - theirs[name]["mtu"] for name in TUNNELS}
    assert {name: ours[name].overhead for name in TUNNELS} == reckoned
    # WireGuard's default leaves room for an IPv6 header, whatever the endpoint is
    assert ours["wg0"].overhead in (60, 80)
    assert theirs["wg0"]["mtu"] == 1420
