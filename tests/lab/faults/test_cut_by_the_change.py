"""The change itself cuts SSH: the host goes back alone, and the controller finds out."""

from pathlib import Path

from labkit import hosts, wholeness
from labkit.faults import Fleet
from labkit.hosts import Spec

NAME = "cut12"
ODD = """
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
ip route add 10.77.0.0/24 dev eth0 table 77; ip rule add fwmark 7 lookup 77
nft 'add table ip m; add chain ip m o { type route hook output priority mangle; }
  add rule ip m o ip daddr 10.77.0.1 meta mark set 7'
ip route add 10.77.0.1/32 dev d0
"""


def test_a_filter_of_the_reverse_path(tmp_path: Path) -> None:
    """Strict reverse path filtering, where the way back to the controller is another interface."""
    with hosts.up({NAME: Spec("boot:bookworm", groups=("web",))}) as names:
        hosts.script(NAME, ODD)
        before = wholeness.state(NAME)
        fleet = Fleet(names, tmp_path)
        fleet.planned("sysctl", sysctl_values={"net.ipv4.conf.eth0.rp_filter": 1})
        done = fleet.apply()
        assert done.code == 8, done.stderr
        assert "not confirmed within" in done.stderr, "the host did it alone, and the controller found out"
        assert wholeness.state(NAME) == before
        assert done.states == {NAME: "as before"}
        assert fleet.resume().code == 0
