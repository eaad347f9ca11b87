"""The chains of pve-firewall, as commands for iptables, for a node without guests whose [RULES] are empty.

What the real code (pve-firewall 6.0.4, PVE::Firewall::compile) made of each option was recorded and is written down
here; test_pve_parsers.py holds the signatures it gave to them. ``iptables-save`` shows them in its own spelling.
"""

from __future__ import annotations

import base64
import hashlib

MANAGEMENT = ("8006", "5900:5999", "3128", "22", "60000:60050")
PORTS = "--match multiport --dports"
NDP_IN = ("router-solicitation", "router-advertisement", "neighbor-solicitation", "neighbor-advertisement")
NDP_OUT = tuple(kind for kind in NDP_IN if kind != "router-advertisement")
INVALID = "-m conntrack --ctstate INVALID -j DROP"
KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
FLAGS = "FIN,SYN,RST,PSH,ACK,URG"
ANSWERS = {
    4: [
        "-p icmp -m icmp --icmp-type fragmentation-needed -j ACCEPT",
        "-p icmp -m icmp --icmp-type time-exceeded -j ACCEPT",
    ],
    6: [
        f"-p icmpv6 -m icmpv6 --icmpv6-type {kind} -j ACCEPT"
        for kind in ("destination-unreachable", "time-exceeded", "packet-too-big")
    ],
}


def standard(family: int) -> dict[str, list[str]]:
    """Return the chains that no option changes."""
    broadcast = [f"-m addrtype --dst-type {kind} -j DROP" for kind in ("BROADCAST", "MULTICAST", "ANYCAST")]
    chains = {
        "PVEFW-DropBroadcast": [*broadcast, "-d 224.0.0.0/4 -j DROP"] if family == 4 else ["-d ff00::/8 -j DROP"],
        "PVEFW-SET-ACCEPT-MARK": [" -j MARK --set-mark 0x80000000/0x80000000"],
        "PVEFW-logflags": [" -j DROP"],
        "PVEFW-tcpflags": [
            *(
                f"-p tcp -m tcp --tcp-flags {flags} -g PVEFW-logflags"
                for flags in (f"{FLAGS} FIN,PSH,URG", f"{FLAGS} NONE", "SYN,RST SYN,RST", "FIN,SYN FIN,SYN")
            ),
            "-p tcp -m tcp --sport 0 --tcp-flags FIN,SYN,RST,ACK SYN -g PVEFW-logflags",
        ],
        "PVEFW-reject": reject(family),
    }
    for name, target in (("Drop", "DROP"), ("Reject", "PVEFW-reject")):
        chains[f"PVEFW-{name}"] = [
            *(["-p tcp --dport 43 -j PVEFW-reject"] if family == 6 else []),
            " -j PVEFW-DropBroadcast",
            *ANSWERS[family],
            INVALID,
            f"-p udp {PORTS} 135,445 -j {target}",
            f"-p udp --dport 137:139 -j {target}",
            f"-p udp --sport 137 --dport 1024:65535 -j {target}",
            f"-p tcp {PORTS} 135,139,445 -j {target}",
            "-p udp --dport 1900 -j DROP",
            "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
            "-p udp --sport 53 -j DROP",
        ]
    if family == 4:
        chains["PVEFW-smurflog"] = [" -j DROP"]
        chains["PVEFW-smurfs"] = [
            "-s 0.0.0.0/32 -j RETURN",
            "-m addrtype --src-type BROADCAST -g PVEFW-smurflog",
            "-s 224.0.0.0/4 -g PVEFW-smurflog",
        ]
    return chains


def reject(family: int) -> list[str]:
    if family == 6:
        return [
            "-p icmpv6 -j DROP",
            "-p tcp -j REJECT --reject-with tcp-reset",
            "-p udp -j REJECT --reject-with icmp6-port-unreachable",
            " -j REJECT --reject-with icmp6-adm-prohibited",
        ]
    return [
        "-m addrtype --dst-type BROADCAST -j DROP",
        "-s 224.0.0.0/4 -j DROP",
        "-p icmp -j DROP",
        "-p tcp -j REJECT --reject-with tcp-reset",
        "-p udp -j REJECT --reject-with icmp-port-unreachable",
        "-p icmp -j REJECT --reject-with icmp-host-unreachable",
        " -j REJECT --reject-with icmp-host-prohibited",
    ]


def input_filters(family: int, options: dict[str, str]) -> list[str]:
    smurfs = family == 4 and options.get("nosmurfs") != "0"
    flags = options.get("tcpflags") == "1"
    return ["-m conntrack --ctstate INVALID,NEW -j PVEFW-smurfs"] * smurfs + ["-p tcp -j PVEFW-tcpflags"] * flags


def host_chains(family: int, options: dict[str, str], cluster: dict[str, str], localnet: str) -> dict[str, list[str]]:
    """Return the chains of the node's own traffic; their INVALID drops stay whatever the option says."""
    ndp = family == 6 and options.get("ndp") != "0"
    into = [f"-p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in NDP_IN if ndp]
    out = [f"-p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in NDP_OUT if ndp]
    policy = {
        "ACCEPT": [" -j RETURN"],
        "DROP": ["-j PVEFW-Drop", "-j DROP"],
        "REJECT": ["-j PVEFW-Reject", "-g PVEFW-reject"],
    }
    known = f"-m set --match-set PVEFW-0-management-v{family} src"
    local = [f"-d {localnet} -p tcp --dport {port} -j RETURN" for port in ("8006", "22", "5900:5999", "3128")]
    return {
        "PVEFW-HOST-IN": [
            "-i lo -j ACCEPT",
            INVALID,
            KNOWN,
            *into,
            *input_filters(family, options),
            "-p igmp -j RETURN",
            *(f"{known} -p tcp --dport {port} -j RETURN" for port in MANAGEMENT),
            *policy[cluster.get("policy_in", "DROP")],
        ],
        "PVEFW-HOST-OUT": [
            "-o lo -j ACCEPT",
            INVALID,
            KNOWN,
            *out,
            "-p igmp -j RETURN",
            *(local if family == 4 and localnet else []),
            *policy[cluster.get("policy_out", "ACCEPT")],
        ],
    }


def chains(family: int, options: dict[str, str], cluster: dict[str, str], localnet: str) -> dict[str, list[str]]:
    """Return chain -> arguments of its rules; ``family`` is 4 or 6."""
    allow, on = options.get("nf_conntrack_allow_invalid") == "1", options.get("enable") != "0"
    bridged = "-m physdev --physdev-is-bridged"
    found = standard(family) | {
        "PVEFW-FORWARD": [
            *([] if allow else [INVALID]),
            KNOWN,
            f"{bridged} --physdev-in fwln+ -j PVEFW-FWBR-IN",
            f"{bridged} --physdev-out fwln+ -j PVEFW-FWBR-OUT",
        ],
        "PVEFW-FWBR-IN": input_filters(family, options),
        "PVEFW-FWBR-OUT": [],
        "PVEFW-INPUT": ["-j PVEFW-HOST-IN"] * on,
        "PVEFW-OUTPUT": ["-j PVEFW-HOST-OUT"] * on,
    }
    return found | (host_chains(family, options, cluster, localnet) if on else {})


def signature(chain: str, rules: list[str]) -> str:
    """Return what upstream keeps in a comment at the end of each chain, to see whether it has to be written again."""
    text = "".join(f"-A {chain} {rule}" for rule in rules)
    return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode().rstrip("=")  # noqa: S324 - as upstream
