#!/usr/bin/python3
"""Stand-in for pvesh on a Proxmox VE node, for one path of its API.

    pvesh get /nodes/NODE/firewall/options [--output-format json]
    pvesh set /nodes/NODE/firewall/options [--OPTION VALUE]... [--delete OPTION,...] [--digest SHA1]

As upstream (pve-firewall src/PVE/API2/Firewall/Host.pm, checked against the real code): the digest and when it
refuses, the lock below /etc/pve/priv/lock, what is validated, messages and exit status; that ``set`` prints nothing,
and that saving drops comments and lines that did not parse, puts options in any order, and removes a file that would
be empty. Not as upstream: other paths and nodes are refused, and rules are kept as text, not checked.
"""

import json
import random
import re
import sys
import time
from typing import NoReturn

from proxmox_hostfw import BOOLEANS, NUMBERS, PVE, SYNTAX, digest, host_fw, load, node, parse

TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
"""What the command line takes besides; the file takes 0 and 1 only."""


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(255)


def checked(name: str, value: str) -> str:
    """Return the value as it will stand in host.fw."""
    if name not in SYNTAX:
        fail(
            f"400 Parameter verification failed.\n{name}: property is not defined in schema and the schema does not "
            "allow additional properties"
        )
    if name in BOOLEANS:
        if value.lower() in (*TRUE, *FALSE):
            return str(int(value.lower() in TRUE))
        fail("400 unable to parse boolean option")
    if not re.fullmatch(SYNTAX[name], value, re.ASCII) or (name in NUMBERS and int(value) not in NUMBERS[name]):
        fail(f"400 Parameter verification failed.\n{name}: value '{value}' does not match the schema")
    return value


def save(options: dict[str, str], rules: list[str]) -> None:
    """Write host.fw anew: options in any order, no comments; nothing left means no file."""
    parts = []
    if options:
        lines = random.sample(sorted(options.items()), len(options))
        parts.append("[OPTIONS]\n\n" + "".join(f"{name}: {value}\n" for name, value in lines) + "\n")
    if rules:
        parts.append("[RULES]\n\n" + "".join(f"{rule}\n" for rule in rules) + "\n")
    if not parts:
        host_fw().unlink(missing_ok=True)
        return
    beside = host_fw().with_suffix(".fw.tmp")
    beside.write_text("".join(parts))
    beside.rename(host_fw())


def set_options(given: dict[str, str]) -> None:
    """Change the options under Proxmox VE's lock, if they still are those of the digest."""
    gone = [name for name in given.pop("delete", "").split(",") if name]
    expected = given.pop("digest", "")
    values = {name: checked(name, value) for name, value in given.items()}
    lock = PVE / "priv" / "lock" / f"firewall-host-{node()}"
    for _ in range(10):
        try:
            lock.mkdir()
            break
        except FileExistsError:
            time.sleep(1)
    else:
        fail(f"cfs-lock 'firewall-host-{node()}' error: got lock request timeout")
    try:
        options, rules, warnings = parse(load(host_fw()))
        print("".join(f"{w}\n" for w in warnings), end="", file=sys.stderr)
        if expected and expected != digest(options):
            fail("detected modified configuration - file changed by other user? Try again.")
        if unknown := [name for name in gone if name not in SYNTAX]:
            fail(f"400 Parameter verification failed.\ndelete: no such option '{unknown[0]}'")
        save({k: v for k, v in options.items() if k not in gone} | values, rules)
    finally:
        lock.rmdir()


def pvesh(arguments: list[str]) -> None:
    verb, path = [*arguments, "", ""][:2]
    given = {k.removeprefix("--"): v for k, v in zip(arguments[2::2], arguments[3::2], strict=True)}
    if path != f"/nodes/{node()}/firewall/options" or verb not in ("get", "set"):
        fail(f"No '{verb}' handler defined for '{path}'")
    if verb == "set":
        set_options(given)
        return
    options, _, warnings = parse(load(host_fw()))
    print("".join(f"{w}\n" for w in warnings), end="", file=sys.stderr)
    numbers: dict[str, object] = {k: int(v) if v.isdecimal() else v for k, v in options.items()}
    print(json.dumps(numbers | {"digest": digest(options)}))


if __name__ == "__main__":
    pvesh(sys.argv[1:])
