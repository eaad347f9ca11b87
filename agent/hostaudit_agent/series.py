"""Readings one a second while a long interval lasts: for losses that come in beats.

A reading is /proc/net/snmp and /proc/net/dev of the calling thread's network namespace: about 0.1 ms of CPU time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hostaudit_agent import jobs
from hostaudit_agent.collectors.counters import increase, parse_paired
from hostaudit_agent.snapshot import Series

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

STEP = 1.0
MOST_HARDWARE = 64
SNMP, DEV = "proc/net/snmp", "proc/net/dev"

Reading = tuple[int, int, int]
"""Tcp.RetransSegs, Tcp.OutSegs, bytes both ways."""


def watch(root: Root, seconds: float) -> Series:
    """Read once a second for ``seconds``. Raises OSError, ValueError. It takes ``seconds`` also where it fails."""
    until = time.monotonic() + seconds
    try:
        return _watched(root, seconds)
    except (OSError, ValueError, KeyError):
        time.sleep(max(0.0, until - time.monotonic()))
        raise


def _watched(root: Root, seconds: float) -> Series:
    names = _hardware(root)
    began = time.monotonic()
    found = Series(round(time.time(), 3), [], [], [], jobs.read(root))
    columns = (found.retransmitted, found.sent, found.octets)
    old = _reading(root, names)
    for step in range(1, int(seconds / STEP) + 1):
        late = time.monotonic() - (began + step * STEP)
        if late < 0:
            time.sleep(-late)
        elif late > STEP:  # the machine was too busy to wake us: what moved belongs to a later second
            for column in columns:
                column.append(0)
            continue
        new = _reading(root, names)
        for column, before, after in zip(columns, old, new):
            column.append(increase(before, after) or 0)
        old = new
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return found


def _hardware(root: Root) -> frozenset[str]:
    """Return the interfaces with a device below them: what a bridge carries would else count three times."""
    names = [n for n in root.names("sys/class/net") if root.exists(f"sys/class/net/{n}/device")]
    return frozenset(names[:MOST_HARDWARE])


def _reading(root: Root, names: frozenset[str]) -> Reading:
    tcp = parse_tcp(root.read_text(SNMP) or "")
    return (tcp["Tcp.RetransSegs"], tcp["Tcp.OutSegs"], parse_dev(root.read_text(DEV) or "", names))


def parse_tcp(text: str) -> dict[str, int]:
    """Return the counters of TCP from /proc/net/snmp; the other protocols' lines are not parsed."""
    return parse_paired("\n".join(line for line in text.splitlines() if line.startswith("Tcp:")))


def parse_dev(text: str, names: frozenset[str]) -> int:
    """Return the bytes received and sent by these interfaces, by all but loopback where none of them is here.

    The columns of /proc/net/dev have names in its second line; of each direction ``bytes`` is the first.
    """
    lines = text.splitlines()
    parts = lines[1].split("|") if len(lines) > 1 else []
    if len(parts) != 3 or not (parts[1].startswith("bytes") and parts[2].startswith("bytes")):
        raise ValueError("/proc/net/dev: no columns of bytes")
    sent = len(parts[1].split())
    numbers = {name.strip(): values.split() for name, _, values in (line.partition(":") for line in lines[2:])}
    wanted = names & numbers.keys() or numbers.keys() - {"lo"}
    return sum(int(numbers[name][0]) + int(numbers[name][sent]) for name in wanted)
