"""The chains of guests: what pve-firewall makes of <VMID>.fw for each interface with ``firewall=1``.

As upstream (pve-firewall 6.0.4 src/PVE/Firewall.pm, generate_tap_rules_direction, ruleset_create_vm_chain,
ruleset_add_chain_policy, compute_ipset_chain_name), read, not run: which guests have chains and what these are called;
that the address filter comes before the guest's rules and these before the policy; that a set ``ipfilter-net<N>``
filters whether the option is on or not. Not made: DHCP, NDP, MAC filters, groups, aliases, macros, CONNMARK.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxmox_hostfw import PVE, load, node

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = {"qemu-server": "tap", "lxc": "veth"}
NIC = re.compile(r"net(\d+):.*\bfirewall=1\b.*", re.ASCII)
RULE = re.compile(r"(IN|OUT)\s+(ACCEPT|DROP)((?:\s+-\S+\s+\S+)*)", re.IGNORECASE)
OPTIONS = {"-source": "-s", "-dest": "-d", "-p": "-p", "-sport": "--sport", "-dport": "--dport"}
MARK = "-j MARK --set-mark 0x00000000/0x80000000"


@dataclass
class Guest:
    """One <VMID>.fw that is switched on."""

    vmid: int
    ports: dict[int, str] = field(default_factory=dict)
    """Number of the interface -> its port on the node."""
    options: dict[str, str] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    sets: dict[str, list[str]] = field(default_factory=dict)

    def filtered_by(self, index: int, family: int) -> str:
        """Return the name of the set of addresses that an interface may send from; empty where it may from all."""
        name = f"ipfilter-net{index}"
        on = name in self.sets or self.options.get("ipfilter") == "1"
        return f"PVEFW-{self.vmid}-{name}-v{family}" if on else ""


def guests() -> Iterator[Guest]:
    """Yield the guests of this node that have a firewall."""
    for folder, prefix in PREFIX.items():
        for conf in sorted((PVE / "nodes" / node() / folder).glob("*.conf")):
            guest = Guest(int(conf.stem))
            for line in load(PVE / "firewall" / f"{conf.stem}.fw").split("\n"):
                take(guest, line.strip())
            if guest.options.get("enable") == "1":
                found = (NIC.fullmatch(line.strip()) for line in load(conf).split("\n"))
                guest.ports = {int(nic[1]): f"{prefix}{guest.vmid}i{nic[1]}" for nic in found if nic}
                yield guest


def take(guest: Guest, line: str) -> None:
    """Take one line of a <VMID>.fw; sections are kept as empty sets, the last one is the one we are in."""
    if header := re.fullmatch(r"\[(?:ipset\s+)?(\S+)\]", line, re.IGNORECASE):
        guest.sets[header[1].lower()] = guest.sets.pop(header[1].lower(), [])
    elif line and not line.startswith("#") and guest.sets:
        section = list(guest.sets)[-1]
        if section == "options":
            key, _, value = line.partition(":")
            guest.options[key.strip()] = value.strip()
        elif section == "rules":
            guest.rules.append(line)
        else:
            guest.sets[section].append(line)


def chains(family: int) -> dict[str, list[str]]:
    """Return chain -> rules, those that lead there included."""
    found: dict[str, list[str]] = {"PVEFW-FWBR-IN": [], "PVEFW-FWBR-OUT": []}
    for guest in guests():
        for index, port in guest.ports.items():
            allowed = guest.filtered_by(index, family)
            found[f"{port}-IN"] = [
                *rules(guest, "IN", family),
                *policy(guest.options.get("policy_in", "DROP"), "-j ACCEPT"),
            ]
            found[f"{port}-OUT"] = [
                *([f"-m set ! --match-set {allowed} src -j DROP"] if allowed else []),
                MARK,
                *rules(guest, "OUT", family),
                *policy(guest.options.get("policy_out", "ACCEPT"), "-g PVEFW-SET-ACCEPT-MARK"),
            ]
            for way, side in (("IN", "out"), ("OUT", "in")):
                found[f"PVEFW-FWBR-{way}"].append(
                    f"-m physdev --physdev-is-bridged --physdev-{side} {port} -j {port}-{way}"
                )
    return found


def sets(family: int) -> dict[str, list[str]]:
    """Return set of addresses -> what it holds of this family."""
    found = {}
    for guest in guests():
        for index in guest.ports:
            if name := guest.filtered_by(index, family):
                given = map(ipaddress.ip_network, guest.sets.get(f"ipfilter-net{index}", []))
                found[name] = [str(network) for network in given if network.version == family]
    return found


def rules(guest: Guest, way: str, family: int) -> list[str]:
    """Return the guest's own rules of one direction and family."""
    found = []
    for match in filter(None, map(RULE.fullmatch, guest.rules)):
        pairs = sorted(re.findall(r"(-\S+)\s+(\S+)", match[3]), key=lambda pair: list(OPTIONS).index(pair[0]))
        versions = {ipaddress.ip_network(value).version for name, value in pairs if name in ("-source", "-dest")}
        if match[1].upper() == way and versions <= {family}:
            verdict = match[2].upper()
            target = "-g PVEFW-SET-ACCEPT-MARK" if (way, verdict) == ("OUT", "ACCEPT") else f"-j {verdict}"
            found.append(" ".join([*(f"{OPTIONS[name]} {value}" for name, value in pairs), target]))
    return found


def policy(name: str, accept: str) -> list[str]:
    """Return the end of a chain."""
    if name == "ACCEPT":
        return [accept]
    return ["-j PVEFW-Drop", "-j DROP"] if name == "DROP" else ["-j PVEFW-Reject", "-g PVEFW-reject"]
