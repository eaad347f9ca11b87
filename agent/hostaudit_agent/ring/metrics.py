"""Metrics for node_exporter's textfile collector: one file, replaced as a whole, its names and labels bounded.

Counters are the kernel's own totals since boot where it has one; of what is counted here (lines of the kernel's log)
they are totals since boot as well. The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from hostaudit_agent import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "hostaudit_agent.prom"
NEW = FILE + ".new"
"""Not ``*.prom``: the collector must not read half of it."""
CONNTRACK = "conntrack."
EVENTS = {
    "TcpExt.ListenOverflows": "listen_overflows",
    "TcpExt.ListenDrops": "listen_drops",
    "TcpExt.TCPReqQFullDrop": "syn_queue_drops",
    "TcpExt.IPReversePathFilter": "reverse_path_filter",
    "Udp.RcvbufErrors": "udp_receive_buffer",
    "softnet.dropped": "processor_backlog",
}

Sample = tuple[dict[str, str], float]


def text(state: dict[str, Any], size: int) -> str:
    """Return the file's content, from the state of a tick and the bytes of the ring."""
    lines: list[str] = []
    for name, kind, about, samples in _families(state, size):
        rows = list(samples)
        if rows:
            lines += [f"# HELP hostaudit_agent_{name} {about}", f"# TYPE hostaudit_agent_{name} {kind}"]
            lines += [f"hostaudit_agent_{name}{_labels(labels)} {_number(value)}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _families(state: dict[str, Any], size: int) -> Iterator[tuple[str, str, str, list[Sample]]]:
    totals: dict[str, int] = state.get("d", {})
    entries, limit = state.get("c", (None, None))
    conntrack = {n[len(CONNTRACK) :]: v for n, v in totals.items() if n.startswith(CONNTRACK)}
    yield "info", "gauge", "Version of the installed agent.", [({"version": __version__}, 1)]
    yield "last_tick_timestamp_seconds", "gauge", "When it last looked.", [({}, state["t"])]
    yield "ring_bytes", "gauge", "Size of its ring.", [({}, size)]
    yield "unread", "gauge", "Parts that could not be read.", [({}, len(state["u"]))]
    yield "conntrack_entries", "gauge", "Entries of the connection tracking table.", _one(entries)
    yield "conntrack_entries_limit", "gauge", "Limit of the connection tracking table.", _one(limit)
    yield (
        "conntrack_events_total",
        "counter",
        "Statistics of connection tracking, added up over processors.",
        [({"event": name}, value) for name, value in conntrack.items()],
    )
    yield (
        "invalid_dropped_packets_total",
        "counter",
        "Packets that rules dropped as INVALID; read when connection tracking saw some.",
        [(_chain(name), value) for name, value in state.get("r", {}).items()],
    )
    yield (
        "drop_events_total",
        "counter",
        "Packets and connections that the kernel refused, by reason.",
        [({"reason": label}, totals[name]) for name, label in EVENTS.items() if name in totals],
    )
    yield (
        "kernel_log_lines_total",
        "counter",
        "Lines of the kernel's log about lost packets and killed processes.",
        [({"kind": kind}, value) for kind, value in state.get("kk", {}).items()],
    )


def _one(value: float | None) -> list[Sample]:
    return [] if value is None else [({}, value)]


def _chain(name: str) -> dict[str, str]:
    """Return the labels of a chain; those beyond the bound are ``others``."""
    words = name.split(" ", 3)
    return dict(zip(("backend", "family", "table", "chain"), words if len(words) == 4 else ("", "", "", name)))


def _labels(labels: dict[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    inside = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(value)


def write(directory: str, state: dict[str, Any], size: int) -> None:
    """Replace the file. Raises OSError; what was there stays then."""
    new = os.path.join(directory, NEW)
    try:
        _whole(new, text(state, size).encode())
        os.replace(new, os.path.join(directory, FILE))
    except OSError:
        if os.path.exists(new):
            os.unlink(new)
        raise


def _whole(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whatever the umask: node_exporter is another user
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(fd)
