"""host.fw as proxmox-firewall (nftables mode) reads it: another parser than the Perl one, and a stricter one.

Source: proxmox-ve-rs proxmox-ve-config/src/firewall/{common,host,parse}.rs. Any error and the whole file is refused:
the rules stay as they are. Read in the source, not compared with the program (no Rust toolchain in the lab). What a
rule's parameters may hold is not checked here, only its first words.
"""

from __future__ import annotations

import re

from proxmox_hostfw import BOOLEANS, LEVEL, LEVELS, NUMBERS

TRUE, FALSE = ("1", "true", "on", "yes"), ("0", "false", "off", "no")


class RefusedError(Exception):
    """The file does not load."""


def value(name: str, text: str) -> str:
    """Return an option's value in its plain form; names that are not known pass."""
    if name in BOOLEANS:
        if text.lower() not in (*TRUE, *FALSE):
            raise RefusedError(f"not a boolean: {text!r}")
        return str(int(text.lower() in TRUE))
    if name in NUMBERS and not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise RefusedError(f"not an integer: {text!r}")
    if name in LEVELS and text not in LEVEL.split("|"):
        raise RefusedError(f"unknown variant {text!r}")
    return text


def parse(text: str) -> dict[str, str]:
    """Return the options; RefusedError with the reason."""
    section = ""
    options: dict[str, str] = {}
    for line in (line.strip() for line in text.split("\n")):
        if not line or line.startswith("#"):
            continue
        if line.lower() in ("[options]", "[rules]"):
            section = line.lower()
        elif line.startswith("["):
            raise RefusedError(f"invalid section {line!r}")
        elif not section:
            raise RefusedError(f"config line with no section: {line!r}")
        elif section == "[options]":
            name, colon, given = line.partition(":")
            if not colon:
                raise RefusedError(f"expected colon separated key and value, found {line!r}")
            if name.strip() in options:
                raise RefusedError(f"duplicate option {name.strip()!r}")
            options[name.strip()] = given.strip()
        elif not re.match(r"\|?(?:(?:IN|OUT|FORWARD)\s+[A-Za-z]|GROUP\s+[A-Za-z])", line, re.IGNORECASE):
            raise RefusedError(f"not a rule: {line!r}")
    return {name: value(name, given) for name, given in options.items()}
