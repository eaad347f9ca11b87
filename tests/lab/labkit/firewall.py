"""What drops packets in state INVALID on the lab's hypervisors, written in three ways.

Each backend knows how to install itself in a fresh namespace, to switch its INVALID drop on and off, and to say how
many packets that rule took. All leave the policy at ACCEPT, so that nothing else drops anything.
"""

import json
import re
from typing import Protocol

from labkit import hosts


class Backend(Protocol):
    """One way of filtering forwarded packets."""

    def install(self, host: str) -> None:
        """Make the chains, without the INVALID drop."""

    def drop(self, host: str) -> None:
        """Drop forwarded packets in state INVALID."""

    def allow(self, host: str) -> None:
        """Take that rule out again."""

    def dropped(self, host: str) -> int:
        """Return the packets that the rule took since it is there; 0 when it is not."""


# The chains of pve-firewall that a node has while no guest is configured, in its order. With the host option
# nf_conntrack_allow_invalid the marked line is absent from PVEFW-FORWARD, and from no other chain: HOST-IN keeps its
# own drop, which concerns the node's own traffic. (pve-firewall, src/PVE/Firewall.pm)
INVALID = "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"
PVE = f"""\
*filter
:PVEFW-FORWARD - [0:0]
:PVEFW-FWBR-IN - [0:0]
:PVEFW-FWBR-OUT - [0:0]
:PVEFW-HOST-IN - [0:0]
:PVEFW-INPUT - [0:0]
:PVEFW-smurfs - [0:0]
{INVALID}
-A PVEFW-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PVEFW-FORWARD -m physdev --physdev-in fwln+ --physdev-is-bridged -j PVEFW-FWBR-IN
-A PVEFW-FORWARD -m physdev --physdev-out fwln+ --physdev-is-bridged -j PVEFW-FWBR-OUT
-A PVEFW-FORWARD -m comment --comment "PVESIG:qnNexOcGa+y+jebd4dAUqFSp5nw"
-A PVEFW-FWBR-IN -m conntrack --ctstate INVALID,NEW -j PVEFW-smurfs
-A PVEFW-HOST-IN -i lo -j ACCEPT
-A PVEFW-HOST-IN -m conntrack --ctstate INVALID -j DROP
-A PVEFW-HOST-IN -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PVEFW-HOST-IN -p tcp -m tcp --dport 22 -j RETURN
-A PVEFW-INPUT -j PVEFW-HOST-IN
-A PVEFW-smurfs -m addrtype --src-type BROADCAST -j DROP
COMMIT
"""
PVE6 = PVE.replace("-A PVEFW-smurfs -m addrtype --src-type BROADCAST -j DROP\n", "")


# What tells a node that it is one: /etc/pve with the node's directory, the firewall switched on, its daemon running.
NODE = """\
mkdir -p /etc/pve/nodes/$(hostname) /etc/pve/firewall
echo '{"starttime": 1, "clinfo": 1, "vmlist": 1}' >/etc/pve/.version
echo "{\\"nodename\\": \\"$(hostname)\\", \\"version\\": 0}" >/etc/pve/.members
printf '[OPTIONS]\\nenable: 1\\n' >/etc/pve/firewall/cluster.fw
ln -s nodes/$(hostname) /etc/pve/local
cp /bin/sleep /usr/sbin/pve-firewall
setsid /usr/sbin/pve-firewall infinity </dev/null >/dev/null 2>&1 &
"""


class Proxmox:
    """A Proxmox VE node with its ``iptables-legacy`` firewall, for IPv4 and IPv6; /etc/pve is a plain directory."""

    def install(self, host: str) -> None:
        """Restore the chains and hook them into FORWARD and INPUT, once, as pve-firewall does."""
        hosts.script(host, NODE)
        self.allow(host)
        for tool in ("iptables-legacy", "ip6tables-legacy"):
            hosts.script(host, f"{tool} -A FORWARD -j PVEFW-FORWARD\n{tool} -A INPUT -j PVEFW-INPUT")

    def drop(self, host: str) -> None:
        """Write the chains as without ``nf_conntrack_allow_invalid``; counters start at zero, as upstream."""
        hosts.script(host, "rm -f /etc/pve/local/host.fw")
        hosts.run(host, "iptables-legacy-restore", "--noflush", input=PVE)
        hosts.run(host, "ip6tables-legacy-restore", "--noflush", input=PVE6)

    def allow(self, host: str) -> None:
        """Write the chains as with ``nf_conntrack_allow_invalid: 1``."""
        hosts.script(host, "printf '[OPTIONS]\\nnf_conntrack_allow_invalid: 1\\n' >/etc/pve/local/host.fw")
        hosts.run(host, "iptables-legacy-restore", "--noflush", input=PVE.replace(f"{INVALID}\n", ""))
        hosts.run(host, "ip6tables-legacy-restore", "--noflush", input=PVE6.replace(f"{INVALID}\n", ""))

    def dropped(self, host: str) -> int:
        """Read the rule's counter."""
        return counter(hosts.run(host, "iptables-legacy-save", "-c", "-t", "filter"), INVALID)


class IptablesNft:
    """One rule in FORWARD by ``iptables-nft``, as an administrator of a router writes it."""

    rule = "FORWARD -m conntrack --ctstate INVALID -j DROP"

    def install(self, host: str) -> None:
        """Do nothing: FORWARD is there."""

    def drop(self, host: str) -> None:
        """Make it the only rule."""
        self.allow(host)
        hosts.run(host, "iptables-nft", "-A", *self.rule.split())

    def allow(self, host: str) -> None:
        """Empty the chain."""
        hosts.run(host, "iptables-nft", "-F", "FORWARD")

    def dropped(self, host: str) -> int:
        """Read the rule's counter."""
        return counter(hosts.run(host, "iptables-nft-save", "-c", "-t", "filter"), f"-A {self.rule}")


class Nftables:
    """A native nftables ruleset with a counter."""

    chain = "inet filter forward"

    def install(self, host: str) -> None:
        """Make table and chain."""
        base = "{ type filter hook forward priority 0; }"
        hosts.run(host, "nft", "-f", "-", input=f"add table inet filter\nadd chain {self.chain} {base}\n")
        self.allow(host)

    def drop(self, host: str) -> None:
        """Put the rule first."""
        self.allow(host)
        hosts.run(host, "nft", f"insert rule {self.chain} ct state invalid counter drop")

    def allow(self, host: str) -> None:
        """Leave only the rule that every ruleset begins with."""
        hosts.run(host, "nft", f"flush chain {self.chain}; add rule {self.chain} ct state established,related accept")

    def dropped(self, host: str) -> int:
        """Read the rule's counter."""
        listing = json.loads(hosts.run(host, "nft", "-j", "list", "chain", *self.chain.split()))
        rules = [e["rule"]["expr"] for e in listing["nftables"] if "rule" in e]
        return sum(e["counter"]["packets"] for expressions in rules for e in expressions if "counter" in e)


def counter(saved: str, rule: str) -> int:
    """Return the packets of a rule in the output of ``iptables-save -c``; 0 when the rule is not there."""
    found = re.search(rf"^\[(\d+):\d+\] {re.escape(rule)}$", saved, re.MULTILINE)
    return int(found[1]) if found else 0


BACKENDS: dict[str, type[Backend]] = {
    "iptables-legacy": Proxmox,
    "iptables-nft": IptablesNft,
    "nftables": Nftables,
}
