"""Makes a booted host of the lab a Proxmox VE node: packages, /etc/pve, pvesh and a pve-firewall that really works.

The two programs are stand-ins; ``proxmox_firewall.py`` and ``proxmox_pvesh.py`` say in what they are like upstream and
in what not. /etc/pve is a plain directory, neither replicated nor bound to fixed rights. Versions
are those of the release of Proxmox VE that is made of the host's Debian.
"""

from collections.abc import Sequence
from pathlib import Path

from labkit import hosts, inventory
from labkit.firewall import INVALID, PVE, PVE6, counter

UPSTREAM = 10
"""Seconds between two rounds of pve-firewall."""
PATIENCE = 15
VERSIONS = {
    "bullseye": {"pve-manager": "7.4-19", "pve-firewall": "4.3-5"},
    "bookworm": {"pve-manager": "8.4.14", "pve-firewall": "5.1.2"},
    "trixie": {"pve-manager": "9.1.2", "pve-firewall": "6.0.4"},
}
PROGRAMS = {
    "/usr/sbin/pve-firewall": "proxmox_firewall.py",
    "/usr/bin/pvesh": "proxmox_pvesh.py",
    "/usr/lib/python3/dist-packages/proxmox_hostfw.py": "proxmox_hostfw.py",
}
UNIT = """\
[Unit]
Description=Proxmox VE firewall
[Service]
ExecStart=/usr/sbin/pve-firewall --period {}
[Install]
WantedBy=multi-user.target
"""
DIRECTORY = """\
mkdir -p /etc/pve/firewall /etc/pve/nodes/$(hostname) /etc/pve/priv/lock /usr/share/pve-firewall
echo '{"starttime": 1, "clinfo": 2, "vmlist": 1}' >/etc/pve/.version
echo "{\\"nodename\\": \\"$(hostname)\\", \\"version\\": 4, \\"cluster\\": {\\"name\\": \\"lab\\", \\"version\\": 2, \\
\\"nodes\\": 2, \\"quorate\\": 1}}" >/etc/pve/.members
printf '[OPTIONS]\\n\\nenable: 1\\n' >/etc/pve/firewall/cluster.fw
ln -sfn nodes/$(hostname) /etc/pve/local
chmod 755 /usr/sbin/pve-firewall /usr/bin/pvesh
systemctl daemon-reload
systemctl -q enable pve-firewall
"""
STATE = "iptables-legacy-save -t filter; ip6tables-legacy-save -t filter"


def host_fw(host: str) -> str:
    """Return the path of the node's host.fw."""
    return f"/etc/pve/nodes/{host}/host.fw"


def read(host: str) -> str | None:
    """Return the node's host.fw; None where there is none."""
    text = hosts.script(host, f"[ ! -e {host_fw(host)} ] || {{ cat {host_fw(host)}; echo .; }}")
    return text.removesuffix(".\n") if text else None


def rules(host: str) -> list[str]:
    """Return the rules of Proxmox VE, IPv4 and IPv6, without counters."""
    return [line for line in hosts.script(host, STATE).splitlines() if "PVEFW" in line and line[0] != ":"]


def kept(host: str) -> list[str]:
    """Return what a guard left on the host: armed changes and units."""
    places = "/var/lib/hostaudit/guard /var/lib/hostaudit/changes /etc/systemd/system"
    found = hosts.script(host, f"find {places} -name '*[0-9]Z-*' 2>/dev/null || :")
    return found.split()


class Node:
    """A packet filter for ``outage.running``: pve-firewall makes it from host.fw."""

    def __init__(self, files: dict[str, str], period: int = 1) -> None:
        """``files`` are the host.fw of nodes, without the option; a node that is not named has none.

        ``period`` is in seconds, between two rounds of pve-firewall.
        """
        self.files = files
        self.period = period

    def install(self, host: str) -> None:
        """Install packages, programs and /etc/pve; the firewall runs from here on and drops INVALID."""
        suite = inventory.load()[host]["suite"]
        here = Path(__file__).parent
        given = {path: (here / name).read_text() for path, name in PROGRAMS.items()}
        given |= {"/etc/systemd/system/pve-firewall.service": UNIT.format(self.period)}
        given |= {"/usr/share/pve-firewall/v4": PVE, "/usr/share/pve-firewall/v6": PVE6}
        hosts.script(host, "mkdir -p /usr/share/pve-firewall")
        for path, text in given.items():
            hosts.run(host, "tee", path, input=text)
        for package, version in VERSIONS[suite].items():
            entry = f"Package: {package}\nStatus: install ok installed\nMaintainer: lab\nArchitecture: all\n"
            hosts.run(
                host, "tee", "-a", "/var/lib/dpkg/status", input=f"{entry}Version: {version}\nDescription: lab\n\n"
            )
        hosts.script(host, DIRECTORY)
        self.drop(host)

    def drop(self, host: str) -> None:
        """Put host.fw back as it was given, and wait for the rule."""
        hosts.script(host, f"rm -f {host_fw(host)}")
        if host in self.files:
            hosts.run(host, "tee", host_fw(host), input=self.files[host])
        hosts.script(host, "systemctl start pve-firewall")
        self._wait(host, dropping=True)

    def allow(self, host: str) -> None:
        """Set the option, and wait until the rule is gone."""
        hosts.run(host, "pvesh", "set", f"/nodes/{host}/firewall/options", "--nf_conntrack_allow_invalid", 1)
        self._wait(host, dropping=False)

    def dropped(self, host: str) -> int:
        """Read the rule's counter."""
        return counter(hosts.run(host, "iptables-legacy-save", "-c", "-t", "filter"), INVALID)

    def _wait(self, host: str, *, dropping: bool) -> None:
        missing = "it says: journalctl -u pve-firewall"
        hosts.wait(
            lambda: rules(host).count(INVALID) == 2 * dropping,
            PATIENCE,
            f"{host}: pve-firewall does not follow; {missing}",
        )


def frozen(host: str, *, thaw: bool = False) -> None:
    """Freeze the node's firewall: its process is there and does nothing, as one that hangs."""
    hosts.script(host, f"systemctl kill -s {'CONT' if thaw else 'STOP'} pve-firewall")


def states(names: Sequence[str]) -> dict[str, tuple[str | None, list[str]]]:
    """Return host.fw and the rules of nodes."""
    return {name: (read(name), rules(name)) for name in names}
