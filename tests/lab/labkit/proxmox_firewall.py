#!/usr/bin/python3
"""Stand-in for pve-firewall, a program of a Proxmox VE node:  pve-firewall [--period SECONDS]

As upstream (src/PVE/Firewall.pm, src/PVE/Service/pve_firewall.pm; facts checked against the real code): every 10 s
host.fw becomes rules and kernel values; the INVALID rule of PVEFW-FORWARD, IPv4 and IPv6, is there unless
``nf_conntrack_allow_invalid: 1``; a chain is written anew, and its counters with it, only when its rules change;
which kernel values each round writes; that cluster.fw switches it off, and that stopping removes all rules.
Not as upstream: the chains are those of a node without guests and a fixed rule for SSH, whatever [RULES] says; their
signature is of this program; nf_conntrack_max, which is read-only in a network namespace, is left alone; there is
no nftables mode; /etc/pve is a plain directory.
"""

import base64
import hashlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from proxmox_hostfw import PVE, host_fw, load, parse

RULES = Path("/usr/share/pve-firewall")
"""``v4`` and ``v6``: the chains as ``iptables-save`` shows them, with the INVALID rule."""
HOOKS = {"FORWARD": "PVEFW-FORWARD", "INPUT": "PVEFW-INPUT"}
INVALID = "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"
SIGNATURE = re.compile(r'-A (\S+) -m comment --comment "PVESIG:\S+"')


def chains(text: str) -> dict[str, list[str]]:
    """Return chain -> rules of an ``iptables-save``; chains of others are left out."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":PVEFW-"):
            found[line[1:].split()[0]] = []
        elif line.startswith("-A PVEFW-"):
            found[line.split()[1]].append(line)
    return found


def wanted(text: str, *, allow: bool) -> dict[str, list[str]]:
    """Return the chains of this node."""
    found = chains(text)
    for rules in found.values():
        if allow and INVALID in rules:
            rules.remove(INVALID)
        for number, rule in enumerate(rules):
            if match := SIGNATURE.fullmatch(rule):
                digest = base64.b64encode(hashlib.sha1("\n".join(rules[:number]).encode()).digest())  # noqa: S324 - as upstream
                rules[number] = f'-A {match[1]} -m comment --comment "PVESIG:{digest.decode().rstrip("=")}"'
    return found


def run(*command: str, text: str = "") -> str:
    return subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout


def write_rules(tool: str, want: dict[str, list[str]]) -> None:
    """Write the chains that differ, and hook them in once."""
    have = chains(run(f"{tool}-save", "-t", "filter"))
    changed = {name: rules for name, rules in want.items() if have.get(name) != rules}
    if changed:
        lines = [
            "*filter",
            *(f":{name} - [0:0]" for name in changed),
            *(r for rules in changed.values() for r in rules),
        ]
        run(f"{tool}-restore", "--noflush", "-w", "10", text="\n".join([*lines, "COMMIT", ""]))
    for parent, chain in HOOKS.items():
        if subprocess.run([tool, "-w", "10", "-C", parent, "-j", chain], check=False, capture_output=True).returncode:
            run(tool, "-w", "10", "-A", parent, "-j", chain)


def remove_rules(tool: str) -> None:
    """Take out the hooks and every chain of ours."""
    have = chains(run(f"{tool}-save", "-t", "filter"))
    lines = [f"-D {parent} -j {chain}" for parent, chain in HOOKS.items() if chain in have]
    lines = ["*filter", *lines, *(f"-F {c}" for c in have), *(f"-X {c}" for c in have), "COMMIT", ""]
    run(f"{tool}-restore", "--noflush", "-w", "10", text="\n".join(lines))


def kernel_values(options: dict[str, str]) -> dict[str, str]:
    """Return what each round writes. Upstream misspells the syn_recv option: set, it writes nothing."""
    values = dict.fromkeys(("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"), "1")
    values["ipv4/tcp_syncookies"] = "1"
    name = "nf_conntrack_tcp_timeout_established"
    values[f"netfilter/{name}"] = options.get(name, "432000")
    if "nf_conntrack_tcp_timeout_syn_recv" not in options:
        values["netfilter/nf_conntrack_tcp_timeout_syn_recv"] = "60"
    return values


def one_round() -> None:
    options, _, _ = parse(load(host_fw()))  # the daemon mutes the parser's warnings
    tools = {"iptables-legacy": "v4", "ip6tables-legacy": "v6"}
    if not re.search(r"^enable:\s*1\s*$", load(PVE / "firewall" / "cluster.fw"), re.MULTILINE):
        for tool in tools:
            remove_rules(tool)
        return
    for name, value in kernel_values(options).items():
        Path("/proc/sys/net", name).write_text(value)
    allow = options.get("nf_conntrack_allow_invalid") == "1"
    for tool, family in tools.items():
        write_rules(tool, wanted((RULES / family).read_text(), allow=allow))


def pve_firewall(arguments: list[str]) -> NoReturn:
    period = float(arguments[1]) if arguments[:1] == ["--period"] else 10.0

    def stop(*_: object) -> NoReturn:
        for tool in ("iptables-legacy", "ip6tables-legacy"):
            remove_rules(tool)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            one_round()
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"status update error: {e} {getattr(e, 'stderr', '')}", file=sys.stderr, flush=True)
        time.sleep(period)


if __name__ == "__main__":
    pve_firewall(sys.argv[1:])
