"""Proxmox VE nodes of the lab, ``boot:SUITE+pve``, as tests use them.

Such a host has its own /etc/pve (``proxmox_fs.py``), shared by all nodes of the lab, pvesh, pve-firewall and
proxmox-firewall. docs/lab-proxmox.md says line by line in what they are like upstream and in what not.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from labkit import hosts, inventory
from labkit.firewall import INVALID, counter
from labkit.settings import LabError

UPSTREAM = 10
"""Seconds between two rounds of pve-firewall."""
PATIENCE = 30
DAEMONS = {"pve-firewall": "/usr/sbin/pve-firewall", "proxmox-firewall": "/usr/libexec/proxmox/proxmox-firewall"}
# a save that reaches a set which is being removed ends in the middle: whoever asks waits, and asks again
STATE = "iptables-legacy-save -t filter || :; ip6tables-legacy-save -t filter || :"
STATE += "; nft list table inet proxmox-firewall || :"
STATE += "; nft list table bridge proxmox-firewall-guests || :"


def host_fw(host: str) -> str:
    """Return the path of the node's host.fw."""
    return f"/etc/pve/nodes/{host}/host.fw"


def read(host: str) -> str | None:
    """Return the node's host.fw byte for byte, CRs and all; None where there is none."""
    text = hosts.script(host, f"[ ! -e {host_fw(host)} ] || {{ echo there; base64 {host_fw(host)}; }}")
    return base64.b64decode(text.removeprefix("there")).decode() if text else None


def write(host: str, text: str | None, path: str = "") -> None:
    """Write a file below /etc/pve as an editor does, by rename; None removes it. Without a path: host.fw."""
    path = path or host_fw(host)
    if text is None:
        hosts.script(host, f"rm -f {path}")
        return
    parent = PurePosixPath(path).parent
    hosts.run(host, "sh", "-ec", f"mkdir -p {parent}; cat >{path}.tmp.1; mv -f {path}.tmp.1 {path}", input=text)


def rules(host: str) -> list[str]:
    """Return the rules of Proxmox VE, both families and both implementations, without counters."""
    lines = [line.strip() for line in hosts.script(host, f"{{ {STATE}; }} 2>/dev/null").splitlines()]
    legacy = [line for line in lines if "PVEFW" in line and line[0] != ":"]
    begin = next((n for n, line in enumerate(lines) if line.startswith("table ")), len(lines))
    return legacy + lines[begin:]


def kept(host: str) -> list[str]:
    """Return what a guard left on the host: armed changes and units."""
    places = "/var/lib/hostaudit/guard /var/lib/hostaudit/changes /etc/systemd/system"
    found = hosts.script(host, f"find {places} -name '*[0-9]Z-*' 2>/dev/null || :")
    return found.split()


def period(host: str, seconds: float) -> None:
    """Restart the node's firewalls with another time between two rounds."""
    for unit, program in DAEMONS.items():
        lines = f"[Service]\nExecStart=\nExecStart={program} start --period {seconds}\n"
        text = f"[ -e {program} ] || exit 0; mkdir -p /etc/systemd/system/{unit}.service.d; "
        text += f"printf '{lines}' >/etc/systemd/system/{unit}.service.d/lab.conf; systemctl daemon-reload; "
        hosts.script(host, text.replace("\n", "\\n") + f"systemctl restart {unit}")


def guest(host: str, vmid: int, name: str, mac: str, *, firewall: bool = False) -> None:
    """Write the configuration of a virtual machine of this node, with one network card on vmbr0."""
    card = f"virtio={mac.upper()},bridge=vmbr0" + (",firewall=1" if firewall else "")
    write(host, f"name: {name}\nnet0: {card}\n", f"/etc/pve/nodes/{host}/qemu-server/{vmid}.conf")


class Node:
    """A packet filter for ``outage.running``: pve-firewall or proxmox-firewall makes it from host.fw."""

    def __init__(
        self, files: dict[str, str], period: float = 1, guests: Mapping[str, tuple[int, str]] | None = None
    ) -> None:
        """``files`` are the host.fw of nodes, without the option; a node that is not named has none.

        ``period`` is in seconds, between two rounds of the firewalls. ``guests``: node -> VMID and the host that is it.
        """
        self.files, self.period, self.guests = files, period, guests or {}

    def install(self, host: str) -> None:
        """Enable the firewall of the cluster; it drops INVALID from here on."""
        if not inventory.load()[host].get("pve"):
            raise LabError(f"{host} is no node of Proxmox VE; start it as boot:SUITE+pve")
        if host in self.guests:
            vmid, worker = self.guests[host]
            guest(host, vmid, worker, hosts.script(worker, "cat /sys/class/net/ens18/address").strip())
        write(host, "[OPTIONS]\n\nenable: 1\n", "/etc/pve/firewall/cluster.fw")
        period(host, self.period)
        self.drop(host)

    def drop(self, host: str) -> None:
        """Put host.fw back as it was given, and wait for the rule."""
        write(host, self.files.get(host))
        self._wait(host, dropping=True)

    def allow(self, host: str) -> None:
        """Set the option, and wait until the rule is gone."""
        hosts.run(host, "pvesh", "set", f"/nodes/{host}/firewall/options", "--nf_conntrack_allow_invalid", 1)
        self._wait(host, dropping=False)

    def dropped(self, host: str) -> int:
        """Read the rule's counter; nftables mode has none."""
        return counter(hosts.run(host, "iptables-legacy-save", "-c", "-t", "filter"), INVALID)

    def _wait(self, host: str, *, dropping: bool) -> None:
        missing = "it says: journalctl -u pve-firewall -u proxmox-firewall"
        mode = "nftables: 1" in (read(host) or "")
        hosts.wait(
            lambda: drops(host) is dropping and ("table inet proxmox-firewall {" in rules(host)) is mode,
            PATIENCE,
            f"{host}: the firewall does not follow; {missing}",
        )


def drops(host: str) -> bool | None:
    """Does the node drop forwarded INVALID packets, in all its families? None where they differ, or nothing filters."""
    found = rules(host)
    if any(line.startswith("table inet proxmox-firewall") for line in found):
        where = "chain invalid-conntrack {"
        # it is written anew each round: a listing that fell into that may be a part
        return found[found.index(where) + 1] == "drop" if where in found else None
    number = found.count(INVALID)
    return {0: False, 2: True}.get(number) if "-A FORWARD -j PVEFW-FORWARD" in found else None


def frozen(host: str, *, thaw: bool = False) -> None:
    """Freeze the node's firewall: its process is there and does nothing, as one that hangs."""
    hosts.script(host, f"systemctl kill -s {'CONT' if thaw else 'STOP'} pve-firewall")


def states(names: Sequence[str]) -> dict[str, tuple[str | None, list[str]]]:
    """Return host.fw and the rules of nodes."""
    return {name: (read(name), rules(name)) for name in names}
