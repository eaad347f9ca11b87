"""What is wrong with a line of a Proxmox firewall file, in words, and how it is written for both programs. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostaudit_agent.snapshot import FirewallLine

WHY = {
    "comment": "a comment stands behind the value",
    "boolean": "pve-firewall takes 0 and 1 only",
    "equals": "'=' is no separator",
    "blank": "a blank stands before the colon",
    "case": "proxmox-firewall knows lower-case keys only",
    "duplicate": "the option is set twice: pve-firewall takes the last line",
    "cr": "the section's line ends with a carriage return (CRLF)",
    "bom": "the file begins with a byte order mark",
    "section": "this is no section of this file",
    "outside": "it stands below no section",
    "misplaced": "an option stands below another section than [OPTIONS]",
    "value": "the value is none that the option has",
    "unknown": "this file has no such option",
    "colon": "this is neither an option nor a comment: comments begin with '#'",
    "rule": "this is no rule",
    "utf8": "the line is not UTF-8",
}
_HOW = {
    "comment": "Put comments on lines of their own.",
    "boolean": "Write booleans as 0 or 1.",
    "equals": "Write `key: value`; Ansible's ini_file cannot edit these files.",
    "blank": "Write the colon right behind the key.",
    "case": "Write keys in lower case.",
    "duplicate": "Keep one line of each option.",
    "cr": "Convert the file to line ends of Unix: `sed -i 's/\\r$//' FILE`.",
    "bom": "Remove the byte order mark: `sed -i '1s/^\\xef\\xbb\\xbf//' FILE`.",
    "section": "Write [OPTIONS] alone on its line; host.fw has [OPTIONS] and [RULES] only.",
    "outside": "Put options below [OPTIONS].",
    "misplaced": "Put options below [OPTIONS].",
    "value": "Write a value that the option has, without quotes.",
    "unknown": "Take the line out, or move it to the file that has this option.",
    "colon": "Begin comments with '#'.",
    "rule": "Correct the rule, or take it out.",
    "utf8": "Save the file as UTF-8.",
}
_TRUE, _FALSE = {"1", "true", "on", "yes"}, {"0", "false", "off", "no"}
_VALUE = re.compile(r"\s*[:=]\s*[\"']?([^\s\"'#]*)")


def effect(value: str | None) -> str:
    """Return what a program makes of a line, for evidence."""
    return "ignores it" if value is None else f"takes {value}"


def safe_form(line: FirewallLine) -> str:
    """Return the line as both programs take it; empty where that cannot be told."""
    if not line.key or line.why == "unknown":
        return ""
    match = _VALUE.search(line.text)
    value = line.perl or line.rust or (match.group(1) if match else "")
    lower = value.lower()
    if line.why in {"comment", "boolean", "equals", "blank", "misplaced", "outside", "cr"}:
        value = "1" if lower in _TRUE else "0" if lower in _FALSE else value
    if not value or (line.why == "value" and not (line.perl or line.rust)):
        return f"{line.key}: {value}" if value.isdecimal() and value in {"0", "1"} else f"{line.key}: <value>"
    return f"{line.key}: {value}"


def advice(lines: Iterable[FirewallLine], misplaced: Iterable[str]) -> str:
    """Return what to do, a line for each kind of mistake."""
    parts = dict.fromkeys(_HOW.get(line.why, "Correct the line.") for line in lines)
    for file in misplaced:
        parts[f"Nothing reads {file}: a node's file is /etc/pve/nodes/<node>/host.fw."] = None
    parts["Edit the file itself: `pvesh set` and the GUI delete comments and every line that they cannot parse."] = None
    return "\n".join(parts)
