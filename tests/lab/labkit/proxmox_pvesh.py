#!/usr/bin/python3
"""Stand-in for pvesh on a Proxmox VE node, for one path of its API.

    pvesh get /nodes/NODE/firewall/options [--output-format json]
    pvesh set /nodes/NODE/firewall/options [--OPTION VALUE]... [--delete OPTION,...] [--digest SHA1]

As upstream (pve-firewall src/PVE/API2/Firewall/Host.pm, pve-cluster src/PVE/Cluster.pm): the digest and when it
refuses, the lock below /etc/pve/priv/lock with its waits and words, what is validated, messages and exit status; that
``set`` prints nothing, that saving drops comments and lines that did not parse and puts options in any order, that it
dies of a rule of unknown type, and removes a file that would be empty.
docs/lab-proxmox.md has the whole list, and what is not like upstream.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from proxmox_hostfw import (
    BOOLEANS,
    HELPERS,
    LEVEL,
    LEVELS,
    NUMBERS,
    PROPERTIES,
    PVE,
    CannotSaveError,
    HostFw,
    digest,
    host_fw,
    load,
    node,
    parse,
    text_of,
)  # fmt: skip

if TYPE_CHECKING:
    from pathlib import Path

TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
"""What the command line takes besides; the file takes 0 and 1 only."""
PATIENCE = 10
"""Seconds that it waits for the lock."""


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(255)


def refuse(name: str, why: str) -> NoReturn:
    fail(f"400 Parameter verification failed.\n{name}: {why}")


def checked(name: str, value: str) -> str:
    """Return the value as it will stand in host.fw."""
    if name not in PROPERTIES:
        refuse(name, "property is not defined in schema and the schema does not allow additional properties")
    if name in BOOLEANS:
        if value.lower() in (*TRUE, *FALSE):
            return str(int(value.lower() in TRUE))
        fail("400 unable to parse boolean option")
    if name in NUMBERS:
        least, most = NUMBERS[name]
        if not re.fullmatch(r"-?\d+", value, re.ASCII):
            refuse(name, f"type check ('integer') failed - got '{value}'")
        if least is not None and int(value) < least:
            refuse(name, f"value must have a minimum value of {least}")
        if most is not None and int(value) > most:
            refuse(name, f"value must have a maximum value of {most}")
    if name in LEVELS and value not in LEVEL.split("|"):
        refuse(name, f"value '{value}' does not have a value in the enumeration '{', '.join(LEVEL.split('|'))}'")
    if name == "nf_conntrack_helpers" and (unknown := [h for h in value.split(",") if h not in HELPERS]):
        refuse(name, f"invalid format - unknown helper {unknown[0]}")
    return value


def save(config: HostFw) -> None:
    """Write host.fw anew, by rename; nothing left means no file."""
    text = text_of(config)
    if not text:
        host_fw().unlink(missing_ok=True)
        return
    beside = host_fw().with_name(f"host.fw.tmp.{os.getpid()}")
    beside.write_bytes(text.encode("latin-1"))
    beside.rename(host_fw())


def quorate() -> bool:
    members = json.loads(load(PVE / ".members") or "{}")
    return bool(members.get("cluster", {"quorate": 1})["quorate"])


def locked() -> Path:
    """Take the lock of this node's firewall and return its path."""
    name = f"firewall-host-{node()}"
    lock = PVE / "priv" / "lock" / name
    if not lock.parent.is_dir():
        fail(f"cfs-lock '{name}' error: pve cluster filesystem not online.")
    slept = 0.0
    while True:
        with suppress(OSError):
            lock.mkdir()
            return lock
        nap = min(max(PATIENCE - int(slept), 1), 10) / 10
        if int(slept + nap) >= PATIENCE:
            fail(f"cfs-lock '{name}' error: {'got lock request timeout' if quorate() else 'no quorum!'}")
        if int(slept + nap) > int(slept):
            print(f"trying to acquire cfs lock '{name}' ...", file=sys.stderr)
        with suppress(OSError):
            os.utime(lock, (0, 0))  # asks for an unlock, should it be stale
        time.sleep(nap)
        slept += nap


def read() -> HostFw:
    config = parse(load(host_fw()))
    print("".join(f"{w}\n" for w in config.warnings), end="", file=sys.stderr)
    return config


def set_options(given: dict[str, str]) -> None:
    """Change the options under Proxmox VE's lock, if they still are those of the digest."""
    gone = [name for name in re.split(r"[,;\s]+", given.pop("delete", "")) if name]
    expected = given.pop("digest", "")
    values = {name: checked(name, value) for name, value in given.items()}
    lock = locked()
    try:
        config = read()
        if expected and expected != digest(config.options):
            fail("detected modified configuration - file changed by other user? Try again.")
        for name in gone:
            if name not in PROPERTIES:
                refuse("delete", f"no such option '{name}'")
            config.options.pop(name, None)
        config.options.update(values)
        try:
            save(config)
        except (CannotSaveError, OSError) as e:
            fail(str(e))
    finally:
        lock.rmdir()


def pvesh(arguments: list[str]) -> None:
    if not (PVE / ".version").exists():  # the process behind it is asked first, whatever the command
        asked = [f"ipcc_send_rec[{n}] failed: Connection refused" for n in (1, 2, 3)]
        print(*asked, "Unable to load access control list: Connection refused", sep="\n", file=sys.stderr)
        sys.exit(111)
    verb, path = [*arguments, "", ""][:2]
    words = arguments[2:]
    if len(words) % 2 or [w for w in words[::2] if not w.startswith("--")]:
        fail("400 unable to parse option")
    given = {name[2:]: value for name, value in zip(words[::2], words[1::2])}  # noqa: B905 - Python 3.9, and even
    if path not in (f"/nodes/{node()}/firewall/options", "/nodes/localhost/firewall/options") or verb not in (
        "get",
        "set",
    ):
        print(f"no '{verb}' handler for '{path}'", file=sys.stderr)
        sys.exit(1)
    if verb == "set":
        set_options(given)
        return
    config = read()
    numbers: dict[str, object] = {k: int(v) if v.isdecimal() else v for k, v in config.options.items()}
    print(json.dumps(numbers | {"digest": digest(config.options)}))


if __name__ == "__main__":
    pvesh(sys.argv[1:])
