#!/usr/bin/python3
"""Stand-in for pve-firewall, a program of a Proxmox VE node.

    pve-firewall start [--period SECONDS]    the daemon, in the foreground; a round every 10 s unless told otherwise
    pve-firewall status                      Status: enabled|disabled/running|stopped, exit status 0 in all cases
    pve-firewall compile                     which chains a round would create, update or delete

As upstream (pve-firewall src/PVE/Firewall.pm, src/PVE/Service/pve_firewall.pm): host.fw and cluster.fw become the
chains of the filter table, IPv4 and IPv6, through iptables-legacy; a chain is written anew, and its counters with it,
only when its signature changes; what each round writes below /proc/sys, and that a value that is set wrongly there is
back in the next round; that the cluster's switch and nftables mode take all rules away, and stopping does, too.
docs/lab-proxmox.md has the whole list, and what is not like upstream.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import proxmox_guests
import proxmox_ipset
from proxmox_chains import chains, signature
from proxmox_hostfw import PVE, cluster_options, host_fw, load, parse

NFT = Path("/usr/libexec/proxmox/proxmox-firewall")
FLAG = Path("/run/proxmox-nftables-firewall-force-disable")
TOOLS = {"iptables": 4, "ip6tables": 6}
HOOKS = ("INPUT", "OUTPUT", "FORWARD")
OURS = re.compile(r"PVEFW-\S+|(?:tap|veth)\d+i\d+-(?:IN|OUT)|fwbr\d+(?:v\d+)?-(?:FW|IN|OUT|IPS)|GROUP-\S+-(?:IN|OUT)")
PROC = Path("/proc/sys/net")


def config() -> tuple[dict[str, str], dict[str, str]]:
    """Return the options of cluster.fw and of host.fw; the daemon mutes the parser's warnings."""
    return cluster_options(load(PVE / "firewall" / "cluster.fw")), parse(load(host_fw())).options


def filtering(cluster: dict[str, str], host: dict[str, str]) -> bool:
    """Is it this program that filters? The flag file tells the other one."""
    enabled = cluster.get("enable", "0") != "0"
    nftables = host.get("nftables") == "1" and os.access(NFT, os.X_OK)
    if enabled and nftables:
        FLAG.unlink(missing_ok=True)
    elif not FLAG.exists():
        FLAG.touch()
    return enabled and not nftables


def run(*command: str, text: str = "") -> str:
    return subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout


def localnet() -> str:
    """Return the network of the node's own address, which is taken for the cluster's."""
    for link in json.loads(run("ip", "-j", "-4", "addr", "show", "scope", "global")):
        for one in link["addr_info"]:
            return str(proxmox_ipset.ipaddress.ip_interface(f"{one['local']}/{one['prefixlen']}").network)
    return "127.0.0.0/8"


def active(tool: str) -> tuple[dict[str, str], set[str]]:
    """Return chain -> signature of what is in the kernel, and the hooks that lead there."""
    found, hooks, table = {}, set(), ""
    for line in run(f"{tool}-save").splitlines():
        if line.startswith("*"):
            table = line
        elif table == "*filter" and line.startswith(":") and OURS.fullmatch(line[1:].split()[0]):
            found[line[1:].split()[0]] = "unknown"
        elif signed := re.match(r'-A (\S+) .*--comment "PVESIG:(\S+)"', line):
            found[signed[1]] = signed[2]
        elif hook := re.fullmatch(r"-A (INPUT|OUTPUT|FORWARD) -j PVEFW-\1", line):
            hooks.add(hook[1])
    return found, hooks


def wanted(family: int, cluster: dict[str, str], host: dict[str, str]) -> dict[str, list[str]]:
    found = chains(family, host, cluster, localnet())
    for name, rules in proxmox_guests.chains(family).items():
        found[name] = [*found.get(name, []), *rules]
    return found


def actions(want: dict[str, list[str]], have: dict[str, str]) -> dict[str, str]:
    """Return chain -> create, update, exists or delete."""
    signed = {name: signature(name, rules) for name, rules in want.items()}
    todo = {n: "exists" if have.get(n) == s else "update" if n in have else "create" for n, s in signed.items()}
    return dict(sorted(todo.items())) | dict.fromkeys(sorted(set(have) - set(want)), "delete")


def commands(tool: str, want: dict[str, list[str]]) -> str:
    """Return the input of iptables-restore that makes the kernel's chains these; only a frame where they are so."""
    have, hooks = active(tool)
    todo = actions(want, have)
    lines = [f":{name} - [0:0]" for name, action in todo.items() if action == "create"]
    lines += [f"-A {hook} -j PVEFW-{hook}" for hook in HOOKS if hook not in hooks]
    for name, action in todo.items():
        if action in ("create", "update"):
            lines += [f"-F {name}", *(f"-A {name} {rule}" for rule in want[name])]
            lines.append(f'-A {name} -m comment --comment "PVESIG:{signature(name, want[name])}"')
    gone = [name for name, action in todo.items() if action == "delete"]
    return "\n".join(["*filter", *lines, *(f"-F {n}" for n in gone), *(f"-X {n}" for n in gone), "COMMIT", ""])


def remove(tool: str) -> None:
    have, hooks = active(tool)
    lines = [f"-D {hook} -j PVEFW-{hook}" for hook in sorted(hooks)]
    text = "\n".join(["*filter", *lines, *(f"-F {n}" for n in have), *(f"-X {n}" for n in have), "COMMIT", ""])
    run(f"{tool}-restore", "-T", "filter", "-n", text=text)


def remove_all() -> None:
    for tool, family in TOOLS.items():
        remove(tool)
        proxmox_ipset.destroy(f"PVEFW-0-management-v{family}")


def write(name: str, value: str) -> None:
    """Write a kernel value; one that is not there or not ours to set is passed over, as upstream does."""
    with suppress(OSError):
        (PROC / name).write_text(value)


def kernel_values(host: dict[str, str]) -> None:
    """Write what each round writes after the rules. Upstream misspells the syn_recv option: set, it writes nothing."""
    most = int(host.get("nf_conntrack_max", "0"))
    most = -(-most // 8192) * 8192 if most > 262144 else 262144
    with suppress(OSError):
        if int((PROC / "nf_conntrack_max").read_text()) != most:
            with suppress(OSError):
                Path("/sys/module/nf_conntrack/parameters/hashsize").write_text(str(most // 4))
            write("nf_conntrack_max", str(most))
    established = "nf_conntrack_tcp_timeout_established"
    write(f"netfilter/{established}", host.get(established, "432000"))
    if "nf_conntrack_tcp_timeout_syn_recv" not in host:
        write("netfilter/nf_conntrack_tcp_timeout_syn_recv", "60")


def one_round() -> None:
    cluster, host = config()
    if not filtering(cluster, host):
        remove_all()
        return
    for name in ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables", "ipv4/tcp_syncookies"):
        write(name, "1")
    for tool, family in TOOLS.items():
        proxmox_ipset.make(f"PVEFW-0-management-v{family}", [localnet()] if family == 4 else [], family)
        for name, networks in proxmox_guests.sets(family).items():
            proxmox_ipset.make(name, networks, family)
        want = wanted(family, cluster, host)
        run(f"{tool}-restore", "-T", "filter", "-n", text=commands(tool, want))
        if left := [name for name, action in actions(want, active(tool)[0]).items() if action != "exists"]:
            raise RuntimeError(f"unable to update chain '{left[0]}'")
    kernel_values(host)


def start(period: float) -> NoReturn:
    def stop(*_: object) -> NoReturn:
        remove_all()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            one_round()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as e:
            said = getattr(e, "stderr", "") or ""
            print(f"status update error: {e} {said}".strip(), file=sys.stderr, flush=True)
        time.sleep(period)


def report(verb: str) -> None:
    cluster, host = config()
    print("".join(f"{w}\n" for w in parse(load(host_fw())).warnings), end="", file=sys.stderr)
    todo = {tool: actions(wanted(family, cluster, host), active(tool)[0]) for tool, family in TOOLS.items()}
    changes = any(action != "exists" for found in todo.values() for action in found.values())
    enabled = cluster.get("enable", "0") != "0"
    if verb == "compile":
        for tool, family in TOOLS.items():
            print(f"\n{tool} cmdlist:")
            for name, action in todo[tool].items():
                rules = wanted(family, cluster, host).get(name, [])
                print(f"{action} {name} ({signature(name, rules)})", *(f"\t-A {name} {r}" for r in rules), sep="\n")
        print("detected changes" if changes else "no changes")
        print("" if enabled else "firewall disabled\n", end="")
        return
    alive = subprocess.run(["systemctl", "-q", "is-active", "pve-firewall"], check=False).returncode == 0
    pending = " (pending changes)" if alive and changes else ""
    print(f"Status: {'enabled' if enabled else 'disabled'}/{'running' if alive else 'stopped'}{pending}")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["start"]:
        start(float(words[2]) if words[1:2] == ["--period"] else 10.0)
    elif words in (["status"], ["compile"]):
        report(words[0])
    else:
        print("ERROR: unknown command", file=sys.stderr)
        sys.exit(255)
