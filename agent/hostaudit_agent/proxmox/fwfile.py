"""cluster.fw, host.fw and <VMID>.fw, as each of the two implementations of the firewall reads them.

Two programs read the same files differently. pve-firewall (Perl, ``generic_fw_config_parser`` of src/PVE/Firewall.pm)
ignores every line that it does not know and keeps the rest. proxmox-firewall (Rust, ``Config::parse`` of
proxmox-ve-config/src/firewall/common.rs) takes more spellings, but one bad value, a key that is given twice, an unknown
section or a line before any section makes it refuse the file. Any file of the node that it refuses, a guest's too,
leaves all its rules as they were (proxmox-firewall src/config.rs, ``FirewallConfig::new``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hostaudit_agent.proxmox import options
from hostaudit_agent.proxmox.options import CLUSTER, GUEST, HOST
from hostaudit_agent.snapshot import FirewallLine

_PERL_SECTIONS = {
    CLUSTER: frozenset(("options", "aliases", "rules", "group", "ipset")),
    HOST: frozenset(("options", "rules")),
    GUEST: frozenset(("options", "aliases", "rules", "ipset")),
}
_PLAIN = re.compile(r"\[(options|aliases|rules)\]", re.IGNORECASE)
_NAMED = re.compile(r"\[(group|ipset)\s+(\S+)\]\s*(?:#.*)?", re.IGNORECASE)
_RULE = re.compile(r"\|?\s*(in|out|forward|group)\s+[^\s#]+(?:\s+--?[a-z-]+\s+[^\s#]+)*\s*(?:#.*)?", re.IGNORECASE)
_ALIAS = re.compile(r"[a-z][\w-]*\s+\S+\s*(?:#.*)?", re.IGNORECASE | re.ASCII)
_DIRECTIONS = {CLUSTER: ("in", "out", "forward"), HOST: ("in", "out", "forward"), GUEST: ("in", "out")}


class Reading(NamedTuple):
    """What one implementation makes of a file."""

    options: dict[str, str]
    taken: dict[int, str]
    """Line -> the value that it takes from an option there."""
    ignored: list[tuple[int, str]]
    """Number and text of the lines that it does not take; where ``refused``, of those that make it refuse."""
    sections: dict[str, list[str]]
    """``rules``, ``aliases``, ``group web``, ``ipset ipfilter-net0`` -> their lines; names in lower case."""
    refused: bool = False
    """It does not load the file at all."""


def perl(text: str, kind: str = HOST) -> Reading:
    """Read as pve-firewall does: what it does not know it skips, and the last of several lines wins."""
    found = Reading({}, {}, [], {})
    section = ""
    for number, line in lines(text):
        header = _perl_section(line, kind)
        if header:
            section = header
            found.sections.setdefault(section, [])
        elif section in {"", "options"}:
            match = options.OPTION.fullmatch(line) if section else None
            key = match.group(1).lower() if match else ""
            value = options.perl(kind, key, match.group(2)) if match else None
            if value is None:
                found.ignored.append((number, line))
            else:
                found.options[key] = found.taken[number] = value
        elif _misplaced(line, section, kind):
            found.ignored.append((number, line))
        else:
            found.sections[section].append(line)
    return found


def rust(text: str, kind: str = HOST) -> Reading:
    """Read as proxmox-firewall does: the first line that it does not understand refuses the file."""
    found = Reading({}, {}, [], {})
    bad: list[tuple[int, str]] = []
    seen: set[str] = set()
    section = ""
    for number, line in lines(text, also="\r"):
        header = _rust_section(line)
        if header:
            section = header
            found.sections.setdefault(section, [])
            if section.startswith(("group ", "ipset ")) and not _rust_may(section, kind):
                bad.append((number, line))
        elif not section or line.startswith("[") or "\ufffd" in line:
            bad.append((number, line))
        elif section == "options":
            key, colon, value = (part.strip() for part in line.partition(":"))
            taken = options.rust(kind, key, value)
            if not colon or key in seen or taken is None:
                bad.append((number, line))
            elif key in options.KEYS[kind] - options.PERL_ONLY:
                found.options[key] = found.taken[number] = taken
            else:
                found.ignored.append((number, line))
            seen.add(key)
        elif _misplaced(line, section, kind, group="GROUP") or _no_alias(line, section, kind):
            bad.append((number, line))
        else:
            found.sections[section].append(line)
    return Reading({}, {}, bad, {}, refused=True) if bad else found


def compare(file: str, text: str, kind: str) -> list[FirewallLine]:
    """Return the lines that not both implementations take as they stand, in order.

    On PVE 7, which has one implementation, this is what an upgrade would bring.
    """
    one, other = perl(text, kind), rust(text, kind)
    refusing = {number for number, _ in other.ignored} if other.refused else set()
    lenient = rust("\n".join("" if n in refusing else line for n, line in enumerate(text.split("\n"), 1)), kind)
    ignored = {number for number, _ in one.ignored}
    found = []
    for number, line in lines(text, also="\r"):
        first, second = one.taken.get(number), lenient.taken.get(number)
        refuses = number in refusing
        key = _key(line)
        differs = first != second and not (first is not None and key in options.PERL_ONLY)
        if number in ignored or refuses or differs:
            why = _why(line, key, text, number, kind)
            found.append(FirewallLine(file, number, line, why, key, first, second, refuses))
    return found


def lines(text: str, also: str = "") -> list[tuple[int, str]]:
    """Return number and text of the lines that are neither empty nor a comment."""
    stripped = ((number, line.strip(" \t" + also)) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in stripped if line.strip() and not line.startswith("#")]


def _perl_section(line: str, kind: str) -> str:
    match = _PLAIN.fullmatch(line) or _NAMED.fullmatch(line)
    if not match or match.group(1).lower() not in _PERL_SECTIONS[kind]:
        return ""
    return " ".join(group.lower() for group in match.groups())


def _rust_section(line: str) -> str:
    match = _PLAIN.fullmatch(line) or _NAMED.fullmatch(line)
    if not match or (match.re is _NAMED and match.group(1) not in {"group", "IPSET"}):
        return ""
    return " ".join(group.lower() for group in match.groups())


def _rust_may(section: str, kind: str) -> bool:
    return kind == CLUSTER or (kind == GUEST and section.startswith("ipset "))


def _misplaced(line: str, section: str, kind: str, group: str = "") -> bool:
    """Say whether a line below [RULES] or [group] cannot be a rule; ``group`` is the only spelling of that word."""
    if not section.startswith(("rules", "group")):
        return False
    match = _RULE.fullmatch(line)
    if not match or match.group(1).lower() not in (*_DIRECTIONS[kind], "group"):
        return True
    return bool(group) and match.group(1).lower() == "group" and match.group(1) != group


def _no_alias(line: str, section: str, kind: str) -> bool:
    return section == "aliases" and (kind == HOST or not _ALIAS.fullmatch(line))


def _key(line: str) -> str:
    """Return the option that a line is about, as a person would read it; empty where it is about none."""
    match = re.match(r"[\ufeff\"';]*\s*(\w+)\s*[:=]", line, re.ASCII)
    key = match.group(1).lower() if match else ""
    return key if any(key in options.KEYS[kind] for kind in (CLUSTER, HOST, GUEST)) else ""


def _why(line: str, key: str, text: str, number: int, kind: str) -> str:
    """Return the word for what is wrong with a line (see ``FirewallLine.why``)."""
    before = text.split("\n")[: number - 1]
    if "\ufffd" in line:
        return "utf8"
    if line.startswith("\ufeff"):
        return "bom"
    headers = [header for header in before if header.strip().startswith(("[", "\ufeff["))]
    if line.startswith("["):
        return "cr" if text.split("\n")[number - 1].endswith("\r") and _rust_section(line) else "section"
    if not headers or headers[-1].startswith("\ufeff") or not _rust_section(headers[-1].strip()):
        return "outside"
    if headers[-1].endswith("\r"):
        return "cr"
    if _rust_section(headers[-1].strip()) != "options":
        return "misplaced" if key else "rule"
    return _why_option(line, key, before, kind)


def _why_option(line: str, key: str, before: list[str], kind: str) -> str:
    if line.startswith(";"):
        return "colon"
    if key and key not in options.KEYS[kind]:
        return "unknown"
    name, colon, value = (part.strip() for part in line.partition(":"))
    simple = (
        ("comment", "#" in value),
        ("equals", not colon and "=" in line),
        ("colon", not colon),
        ("unknown", not key),
        ("blank", line != line.replace(" :", ":").replace("\t:", ":")),
        ("case", name != name.lower()),
        ("duplicate", any(other.partition(":")[0].strip() == name for other in before)),
        ("boolean", key in options.BOOLEANS[kind] and value.lower() in options.TRUE | options.FALSE - {"0", "1"}),
    )
    return next((word for word, wrong in simple if wrong), "value")
