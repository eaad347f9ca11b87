"""Runs on the host, from memory, as the agent does: says what a change's guard is, ends it, or tries the gateways.

It changes nothing by itself: ``extend``, ``confirm``, ``revert`` and ``undo`` run the guard's own program, which the
Ansible role put there. Sent as source text; nothing imports it on the controller. Python 3.9, stdlib.

    state ID            the guard, this host's log of the change
    extend ID SECONDS   start the wait for the confirmation again
    confirm ID KEEP     keep the change          revert ID   put everything back now
    undo ID [force]     put a confirmed change back
    things ID           a confirmed change, thing by thing: before, as it was left, now
    boot, since JSON    see ``witness.py``, which is sent along
    gateways            an ICMP echo to the gateway of each IPv4 default route
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import time

BASE = "/var/lib/hostaudit"
LOG = "/var/log/hostaudit/changes.jsonl"
TAIL = 1 << 20
"""Bytes of the log's end that are looked at."""
LONGEST = 4096
"""Bytes of a value that are compared and shown."""
ORPHANS = 20.0
"""Seconds to wait for a task of a controller that was killed: it must not write after the undo."""


def guard(change: str) -> tuple[str, str]:
    """Return the guard's state and where its program is."""
    for state, path in (
        ("armed", f"{BASE}/guard/{change}"),
        ("reverted", f"{BASE}/guard/{change}.reverted"),
        ("kept", f"{BASE}/changes/{change}"),
    ):
        if os.path.exists(f"{path}/guard"):
            return state, path
    return "none", ""


def log_of(change: str) -> list[dict[str, object]]:
    """Return the entries of this host's log about a change, and those about its undo."""
    entries: list[dict[str, object]] = []
    with contextlib.suppress(OSError), open(LOG, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        for line in file:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("change") == change:
                    entries.append(entry)
    return [{k: e.get(k) for k in ("at", "event", "reason", "things", "role") if k in e} for e in entries[-50:]]


def call(change: str, command: str, *arguments: str) -> dict[str, object]:
    """Run the guard's program of a change; return its exit code and what it said. 3: there is none here."""
    _, path = guard(change)
    if not path:
        return {"code": 3, "out": "", "err": f"no change {change} is armed or kept here"}
    if command in ("revert", "undo") and arguments != ("check",):
        wait_for_tasks()
    done = subprocess.run(
        ["/bin/sh", f"{path}/guard", command, change, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd="/",
    )
    return {"code": done.returncode, "out": text(done.stdout), "err": text(done.stderr)}


def wait_for_tasks() -> None:
    """Wait until no task of Ansible runs here: Ansible adds these words to its command lines (plugins/action)."""
    end = time.monotonic() + ORPHANS
    while time.monotonic() < end:
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read(LONGEST)
                    if b"&& sleep 0" in line or b"BECOME-SUCCESS-" in line:
                        break
        else:
            return
        time.sleep(0.2)


def text(data: bytes) -> str:
    """Return the end of what a program printed."""
    return data[-LONGEST:].decode("utf-8", "replace")


def things(change: str) -> list[list[str | None]]:
    """Return a change thing by thing; of files only whether they are the same."""
    state, path = guard(change)
    if state != "kept":
        return []
    found: list[list[str | None]] = []
    with open(f"{path}/touches", encoding="utf-8", errors="replace") as file:
        touches = file.read().splitlines()
    for number, touch in enumerate(touches, 1):
        kind, _, rest = touch.partition(" ")
        images = [content(f"{path}/{which}/{number}") for which in ("before", "after")]
        found.append([kind, rest, *images, present(kind, rest)])
    return found


def present(kind: str, rest: str) -> str | None:
    """Return what a thing is now; None where it is absent, or of a kind that only the guard can read."""
    if kind in ("file", "soft", "pve", "value"):
        return content(rest)
    if kind == "link":
        return content(f"/sys/class/net/{rest}/mtu")
    return None


def content(path: str) -> str | None:
    """Return what a file holds, at most LONGEST bytes; None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(LONGEST).decode("utf-8", "replace").strip()
    except OSError:
        return None


def gateways() -> dict[str, bool]:
    """Return the gateway of each IPv4 default route, and whether it answered one of three echoes."""
    found: dict[str, bool] = {}
    with contextlib.suppress(OSError), open("/proc/net/route", encoding="ascii") as file:
        for line in file.read().splitlines()[1:]:
            fields = line.split()
            if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000" and int(fields[3], 16) & 2:
                address = socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
                found.setdefault(address, any(echo(address, n) for n in range(3)))
    return found


def echo(address: str, number: int) -> bool:
    """Send one ICMP echo (RFC 792) and wait a second for its reply. Raw sockets are root's."""
    identity = os.getpid() & 0xFFFF
    header = struct.pack("!BBHHH", 8, 0, 0, identity, number) + b"hostaudit..."
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    packet = header[:2] + struct.pack("!H", checksum) + header[4:]
    end = time.monotonic() + 1
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.sendto(packet, (address, 0))
            while time.monotonic() < end:
                raw.settimeout(max(0.01, end - time.monotonic()))
                answer, (source, _) = raw.recvfrom(1024)
                body = answer[(answer[0] & 15) * 4 :]
                if source == address and body[0] == 0 and body[4:8] == header[4:8]:
                    return True
    except OSError:
        return False
    return False


def main(arguments: list[str]) -> None:
    """Do what is asked and print one JSON document."""
    command, change, *rest = [*arguments, "", ""][: max(2, len(arguments))]
    document: dict[str, object] = {"schema": "hostaudit.guard/1"}
    if command in ("extend", "confirm", "revert", "undo"):
        document["call"] = call(change, command, *rest)
    if command == "things":
        document["call"] = call(change, "undo", "check")
        document["things"] = things(change)
    if command == "gateways":
        document["gateways"] = gateways()
    elif command in ("boot", "since"):
        document["seen"] = getattr(importlib.import_module("witness"), command)(json.loads(change))
    else:
        document["guard"] = guard(change)[0]
        document["log"] = log_of(change)
    sys.stdout.write(json.dumps(document) + "\n")


main(sys.argv[1:])
