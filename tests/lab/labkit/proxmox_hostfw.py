"""Configuration of Proxmox VE's firewall as its Perl code reads and writes it; the stand-ins share it, on the node.

Source: pve-firewall src/PVE/Firewall.pm (parse_hostfw_option, parse_clusterfw_option, parse_fw_rule,
generic_fw_config_parser, save_hostfw_conf). test_pve_parsers.py holds what the real code answered to a corpus.
"""

from __future__ import annotations

import hashlib
import random
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

PVE = Path("/etc/pve")
BOOLEANS = ("enable", "nosmurfs", "tcpflags", "ndp", "log_nf_conntrack", "nf_conntrack_allow_invalid",
            "protection_synflood", "nftables")  # fmt: skip
LEVELS = ("log_level_in", "log_level_out", "log_level_forward", "tcp_flags_log_level", "smurf_log_level")
LEVEL = "emerg|alert|crit|err|warning|notice|info|debug|nolog"
NUMBERS = {
    "nf_conntrack_max": (32768, None),
    "nf_conntrack_tcp_timeout_established": (7875, None),
    "nf_conntrack_tcp_timeout_syn_recv": (30, 60),
    "protection_synflood_rate": (None, None),
    "protection_synflood_burst": (None, None),
}
"""Least and greatest value that the API takes; the file may hold any number."""
HELPERS = ("amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp")
PROPERTIES = (*BOOLEANS, *LEVELS, *NUMBERS, "nf_conntrack_helpers")
"""What the API knows; the file's parser takes protection_limit as well."""
KNOWN_RULES = ("in", "out", "forward", "group")
PARAMETER = re.compile(r"(-i|-p|--?proto|--?dport|--?sport|--?source|--?dest|--?log|--?icmp-type) (\S+)\s*")
ORDER = ("i", "source", "dest", "p", "dport", "sport", "log", "icmp-type")
"""In which order parameters of a rule are written."""


class CannotSaveError(Exception):
    """What upstream dies of while it formats the file: nothing is written."""


@dataclass
class HostFw:
    """A parsed host.fw."""

    options: dict[str, str] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    """As they would be written."""
    warnings: list[str] = field(default_factory=list)
    """What was ignored, and so is lost when the file is saved."""


def node() -> str:
    return socket.gethostname().partition(".")[0]


def host_fw() -> Path:
    return PVE / "nodes" / node() / "host.fw"


def load(path: Path) -> str:
    """Return the text of a file, byte for byte; empty where there is none."""
    try:
        return path.read_bytes().decode("latin-1")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def option(line: str) -> tuple[str, str] | None:
    """Return name and value of a line of [OPTIONS]; None where it does not parse."""
    patterns = (
        (rf"({'|'.join(BOOLEANS)}):\s*(0|1)\s*", str),
        (rf"({'|'.join(LEVELS)}):\s*((?:{LEVEL})?)\s*", str.lower),
        (rf"({'|'.join(NUMBERS)}|protection_limit):\s*(\d+)\s*", lambda v: str(int(v))),
        (r"(nf_conntrack_helpers):\s*(\S+)\s*", str.lower),
    )
    for pattern, value in patterns:
        if found := re.fullmatch(pattern, line, re.IGNORECASE | re.ASCII):
            name, text = found[1].lower(), value(found[2])
            known = name != "nf_conntrack_helpers" or not set(text.split(",")) - set(HELPERS)
            return (name, text) if known else None
    return None


def rule(line: str) -> str:
    """Return a rule as it would be written; ValueError with upstream's words where it does not parse."""
    text, _, comment = line.partition("#")
    off = "|" if text.startswith("|") else ""
    text = text[len(off) :]
    found = re.match(r"(\S+)\s+(\S+)\s*", text)
    if not found:
        raise ValueError(f"unable to parse rule: {text}")
    rest, given = text[found.end() :], {}
    while parameter := PARAMETER.match(rest):
        name = parameter[1].lstrip("-")
        given["p" if name == "proto" else name] = parameter[2]
        rest = rest[parameter.end() :]
    if rest:
        raise ValueError(f"unable to parse rule parameters: {rest}")
    words = [found[1].upper(), found[2], *(f"-{name} {given[name]}" for name in ORDER if name in given)]
    return f"{off}{' '.join(words)}" + (f" # {comment.strip()}" if comment.strip() else "")


def parse(text: str, name: str = "") -> HostFw:
    """Read a host.fw. Lines end at LF: the CR of a CRLF is part of the line, and only some patterns take it."""
    found, section, prefix = HostFw(), "", name or str(host_fw())
    for number, line in enumerate(text.split("\n"), 1):
        line, at = line.strip(" \t"), f"{prefix} (line {number})"
        if line.startswith("#") or not line.strip():
            continue
        if line.lower() in ("[options]", "[rules]"):
            section = line.lower()
        elif not section:
            found.warnings.append(f"{at}: skip line - no section")
        elif section == "[options]":
            if parsed := option(line):
                found.options[parsed[0]] = parsed[1]
            else:
                found.warnings.append(f"{at}: can't parse option '{line}'")
        else:
            try:
                found.rules.append(rule(line))
            except ValueError as e:
                found.warnings.append(f"{at}: {e}")
    return found


def text_of(config: HostFw) -> str:
    """Return the file that saving writes: options in any order, no comments; empty where nothing is left."""
    parts = []
    if config.options:
        lines = random.sample(sorted(config.options.items()), len(config.options))
        parts.append("[OPTIONS]\n\n" + "".join(f"{name}: {value}\n" for name, value in lines) + "\n")
    for line in config.rules:
        kind = line.lstrip("|").split()[0].lower()
        if kind not in KNOWN_RULES:
            raise CannotSaveError(f"unknown rule type '{kind}' at /usr/share/perl5/PVE/Firewall.pm line 3731.")
    if config.rules:
        parts.append("[RULES]\n\n" + "".join(f"{line}\n" for line in config.rules) + "\n")
    return "".join(parts)


def cluster_options(text: str, now: float | None = None) -> dict[str, str]:
    """Return the options of a cluster.fw. ``enable`` above 1 is a time, in seconds, and off a minute later."""
    options: dict[str, str] = {}
    section = ""
    for line in (line.strip(" \t") for line in text.split("\n")):
        if line.startswith("["):
            section = line.lower()
        elif section == "[options]":
            if found := re.fullmatch(r"enable:\s*(\d+)\s*", line, re.IGNORECASE):
                late = int(found[1]) > 1 and (time.time() if now is None else now) - int(found[1]) > 60
                options["enable"] = "0" if late else found[1]
            elif found := re.fullmatch(r"(policy_(?:in|out|forward)):\s*(ACCEPT|DROP|REJECT)\s*", line, re.IGNORECASE):
                options[found[1].lower()] = found[2].upper()
    return options


def digest(options: dict[str, str]) -> str:
    """Return the sum of the parsed options: blind to rules and comments."""
    return hashlib.sha1("".join(f"{k}:{v}\n" for k, v in sorted(options.items())).encode()).hexdigest()  # noqa: S324 - as upstream
