#!/usr/bin/python3
"""Stand-in for proxmox-firewall, the firewall of a Proxmox VE node in nftables mode.

    proxmox-firewall start [--period SECONDS]    the daemon, in the foreground; a round every 5 s unless told otherwise
    proxmox-firewall compile                     the ruleset that a round would load; exit status 1 where one does not

As upstream (proxmox-firewall src/bin/proxmox-firewall.rs, src/firewall.rs, resources/proxmox-firewall.nft): it works
only where cluster.fw enables the firewall, host.fw has nftables: 1 and pve-firewall's flag file is absent, and takes
its tables away otherwise; a host.fw that does not load leaves the rules as they are; names of tables, chains and hooks
around ``invalid-conntrack``, which holds one drop, or nothing with nf_conntrack_allow_invalid; enable: 0 removes the
inet table; without enabled guests there is no table of the bridge family; which kernel values it writes.
docs/lab-proxmox.md has the whole list, and what is not like upstream.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import NoReturn

from proxmox_hostfw import PVE, cluster_options, load
from proxmox_rust import RefusedError, parse

FLAG = Path("/run/proxmox-nftables-firewall-force-disable")
INET, GUESTS = "inet proxmox-firewall", "bridge proxmox-firewall-guests"
STATES = "ct state vmap { established : accept, related : accept, invalid : jump invalid-conntrack }"
KERNEL = {
    "nf_conntrack_max": "netfilter/nf_conntrack_max",
    "nf_conntrack_tcp_timeout_established": "netfilter/nf_conntrack_tcp_timeout_established",
    "nf_conntrack_tcp_timeout_syn_recv": "netfilter/nf_conntrack_tcp_timeout_syn_recv",
}


def chain(name: str, *rules: str, hook: str = "") -> str:
    lines = ([f"type filter hook {hook}; policy accept;"] if hook else []) + list(rules)
    return "".join([f"  chain {name} {{\n", *(f"    {line}\n" for line in lines), "  }\n"])


def localnet() -> str:
    said = subprocess.run(["ip", "-j", "-4", "addr", "show", "scope", "global"], check=True, capture_output=True)
    found = [f"{a['local']}/{a['prefixlen']}" for link in json.loads(said.stdout) for a in link["addr_info"]]
    return str(ip_interface(found[0]).network) if found else "127.0.0.0/8"


def inet(cluster: dict[str, str], *, drop: bool) -> str:
    """Return the table of the node's own and of its routed traffic."""
    policy = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop"}
    empty = (
        "host-in",
        "host-out",
        "host-forward",
        "cluster-out",
        "cluster-forward",
        "ct-in",
        "option-in",
        "option-out",
    )
    body = [
        f"  set v4-dc/management {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {localnet()} }} }}\n",
        chain("invalid-conntrack", *["drop"] * drop),
        *(chain(name) for name in empty),
        chain("cluster-in", policy[cluster.get("policy_in", "DROP")]),
        chain("accept-management", "ip saddr @v4-dc/management accept"),
        chain(
            "default-in",
            'iifname "lo" accept',
            STATES,
            "meta l4proto igmp accept",
            "tcp dport { 8006, 5900-5999, 3128, 22 } jump accept-management",
        ),
        chain("default-out", 'oifname "lo" accept', STATES),
        chain("before-bridge", "meta protocol arp accept", f"meta protocol != arp {STATES}"),
        chain(
            "input",
            *(f"jump {name}" for name in ("default-in", "ct-in", "option-in", "host-in", "cluster-in")),
            hook="input priority filter",
        ),
        chain(
            "output",
            *(f"jump {name}" for name in ("default-out", "option-out", "host-out", "cluster-out")),
            hook="output priority filter",
        ),
        chain("forward", STATES, "jump host-forward", "jump cluster-forward", hook="forward priority filter"),
    ]
    return f"table {INET} {{\n{''.join(body)}}}\n"


def ports() -> dict[str, list[str]]:
    """Return the filtered ports of each guest of this node whose firewall is enabled."""
    found: dict[str, list[str]] = {}
    for folder, prefix in (("qemu-server", "tap"), ("lxc", "veth")):
        for path in sorted((PVE / "local" / folder).glob("*.conf")):
            text = load(path).partition("\n[")[0]
            numbers = re.findall(r"^net(\d+):.*[ ,]firewall=1\b", text, re.MULTILINE)
            if re.search(r"^enable: 1$", load(PVE / "firewall" / f"{path.stem}.fw"), re.MULTILINE):
                found[path.stem] = [f"{prefix}{path.stem}i{n}" for n in numbers]
    return found


def guests(found: dict[str, list[str]], *, drop: bool, states: bool) -> str:
    """Return the table of filtered guests; not every kernel has ``ct`` in the bridge family."""
    known = [f"meta protocol != arp {STATES}"] * states
    maps = {
        way: ", ".join(f'"{port}" : goto guest-{vmid}-{way}' for vmid, names in found.items() for port in names)
        for way in ("in", "out")
    }
    body = [chain("invalid-conntrack", *["drop"] * drop)]
    body += [chain("pre-vm-out", *known), chain("pre-vm-in", *known, "meta protocol arp accept")]
    body += [chain(f"guest-{v}-{way}", f"jump pre-vm-{way}", "accept") for v in found for way in ("in", "out")]
    body += [
        f"  map vm-map-{way} {{ type ifname : verdict; {f'elements = {{ {text} }}' if text else ''} }}\n"
        for way, text in maps.items()
    ]
    body += [
        chain("vm-out", "iifname vmap @vm-map-out", hook="prerouting priority 0"),
        chain("vm-in", "oifname vmap @vm-map-in", hook="postrouting priority 0"),
        chain("before-bridge", "meta protocol arp accept", *known),
        chain("forward", hook="forward priority 0"),
    ]
    return f"table {GUESTS} {{\n{''.join(body)}}}\n"


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], check=True, input=text, capture_output=True, text=True)


def empty(table: str) -> str:
    return f"table {table} {{ }}\ndelete table {table}\n"


def remove() -> None:
    nft(empty(INET) + empty(GUESTS))


def ruleset(cluster: dict[str, str], host: dict[str, str], *, states: bool = True) -> str:
    on = host.get("enable") != "0"
    drop = on and host.get("nf_conntrack_allow_invalid") != "1"
    found = ports()
    text = empty(INET) + empty(GUESTS) + (inet(cluster, drop=drop) if on else "")
    return text + (guests(found, drop=drop, states=states) if found else "")


def configured() -> tuple[dict[str, str], dict[str, str]] | None:
    """Return the options of cluster.fw and host.fw; None where another firewall, or none, is in charge."""
    cluster, host = cluster_options(load(PVE / "firewall" / "cluster.fw")), parse(load(PVE / "local" / "host.fw"))
    return (cluster, host) if cluster.get("enable", "0") != "0" and host.get("nftables") == "1" else None


def one_round() -> None:
    found = None if FLAG.exists() else configured()
    if not found:
        remove()
        return
    try:
        nft(ruleset(*found))
    except subprocess.CalledProcessError:
        nft(ruleset(*found, states=False))
    if found[1].get("enable") != "0":
        for name, path in KERNEL.items():
            if name in found[1]:
                with suppress(OSError):
                    Path("/proc/sys/net", path).write_text(found[1][name])


def start(period: float) -> NoReturn:
    def stop(*_: object) -> NoReturn:
        remove()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            one_round()
        except (OSError, RefusedError, subprocess.CalledProcessError) as e:
            said = getattr(e, "stderr", "") or ""
            print(f"error updating firewall rules: {e} {said}".strip(), file=sys.stderr, flush=True)
        time.sleep(period)


def main(words: list[str]) -> None:
    if words[:1] == ["start"]:
        start(float(words[2]) if words[1:2] == ["--period"] else 5.0)
    if words != ["compile"]:
        sys.exit("Invalid command specified!")
    try:
        found = configured()
    except RefusedError as e:
        sys.exit(f"Error: {e}")
    print(ruleset(*found) if found else "[]")


if __name__ == "__main__":
    main(sys.argv[1:])
