"""Role link_mtu where netplan and ifupdown2 configure the interface: check, change, again, reboot, undo."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from labkit import hosts
from roles.play import Played, ok, play, remediate

from vm.changes import reboot

WANTED: dict[str, Any] = {"link_mtu_links": {"eth1": 1400, "br7": 1400}}
PATIENT = {"hostaudit_confirm_timeout": 1200}
STATE = r"""
find /etc/network /etc/netplan /etc/systemd/network -type f -exec sha256sum {} + 2>/dev/null | sed 's/^/sum /'
find /etc/network /etc/netplan /etc/systemd/network -printf 'mode %m %u:%g %y %l %p\n' 2>/dev/null
ip -o link | sed 's/^[0-9]*: /link /; s/ state .*//; s/@if[0-9]*//'
"""
NETPLAN = r"""
umask 077
cat >/etc/netplan/50-lab.yaml <<END
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      addresses: [$address]
      routes: [{to: 0.0.0.0/0, via: 10.77.0.1}]
    eth1:
      addresses: [10.88.13.1/24]
    eth2: {}
  bridges:
    br7:
      interfaces: [eth2]
      addresses: [10.87.13.1/24]
END
printf 'auto lo\niface lo inet loopback\n' >/etc/network/interfaces
rm -f /etc/network/interfaces.d/*
systemctl -q unmask systemd-networkd.service systemd-networkd.socket
systemctl -q enable systemd-networkd.service
"""
IFUPDOWN2 = r"""
DEBIAN_FRONTEND=noninteractive dpkg -i --auto-deconfigure /var/cache/lab/ifupdown2_*.deb >/run/dpkg.log 2>&1 ||
  { dpkg -r --force-depends ifupdown && dpkg -i /var/cache/lab/ifupdown2_*.deb; } >/run/dpkg.log 2>&1
cat >/etc/network/interfaces <<END
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address $address
    gateway 10.77.0.1

auto eth1
iface eth1
    address 10.88.12.1/24

auto eth2
iface eth2

# a bridge, as Proxmox VE writes it
auto br7
iface br7
    address 10.87.12.1/24
    bridge-ports eth2
    bridge-stp off
    bridge-fd 0
END
rm -f /etc/network/interfaces.d/*
systemctl -q enable networking.service
"""
PROGRAMS = {"vm12": IFUPDOWN2, "vm13": NETPLAN}


@dataclass
class Story:
    """One life of a machine."""

    name: str
    plays: dict[str, Played] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)

    def look(self, moment: str) -> None:
        self.states[moment] = sorted(hosts.script(self.name, STATE).splitlines())


@pytest.fixture(scope="module", params=list(PROGRAMS))
def story(machines: list[str], request: pytest.FixtureRequest) -> Story:
    assert request.param in machines
    return tell(Story(request.param))


def tell(told: Story) -> Story:
    name, only = told.name, ("--limit", told.name, "--diff")
    address = hosts.script(name, "ip -o -4 addr show eth0 | awk '{ print $4 }'").strip()
    hosts.script(name, f"address={address}\n{PROGRAMS[name]}")
    restart(name)
    told.look("before")
    told.plays["check"] = remediate(["link_mtu"], WANTED | PATIENT, "--check", *only)
    told.look("checked")
    change = {"hostaudit_change": "mtu"}
    told.plays["change"] = remediate(["link_mtu"], WANTED | PATIENT | change, *only)
    told.look("changed")
    told.plays["again"] = remediate(["link_mtu"], WANTED | PATIENT, *only)
    restart(name)
    told.look("rebooted")
    told.plays["undo"] = play("rollback.yml", change | PATIENT, *only)
    told.look("undone")
    return told


def restart(name: str) -> None:
    """Reboot, and wait until the interfaces are configured: networkd goes on after systemd has started everything."""
    reboot(name)
    up = "ip -o link show br7 2>/dev/null || :"
    hosts.wait(lambda: "LOWER_UP" in hosts.script(name, up), 300, f"br7 of {name} does not come up")


def mtus(lines: list[str]) -> dict[str, str]:
    links = [line.split() for line in lines if line.startswith("link ")]
    return {words[1].rstrip(":"): words[words.index("mtu") + 1] for words in links}


def test_the_program_is_the_one_that_configures(story: Story) -> None:
    found = ok(story.plays["change"]).text
    where = {"vm12": "/etc/network/interfaces", "vm13": "/etc/netplan/zz-hostaudit-mtu-eth1.yaml"}
    assert where[story.name] in found
    assert mtus(story.states["before"])["eth1"] == mtus(story.states["before"])["br7"] == "1500"


def test_check_mode_says_it_and_changes_nothing(story: Story) -> None:
    said, done = ok(story.plays["check"]).changed[story.name], ok(story.plays["change"]).changed[story.name]
    assert said == done
    assert story.states["checked"] == story.states["before"]


def test_changed_now_and_nothing_left_to_do(story: Story) -> None:
    found = mtus(story.states["changed"])
    assert (found["eth1"], found["br7"]) == ("1400", "1400")
    assert ok(story.plays["again"]).changed == {}


def test_the_program_itself_sets_it_at_the_next_boot(story: Story) -> None:
    found = mtus(story.states["rebooted"])
    assert (found["eth1"], found["br7"]) == ("1400", "1400")


def test_the_undo_brings_back_every_byte(story: Story) -> None:
    ok(story.plays["undo"])
    assert story.states["undone"] == story.states["before"]
