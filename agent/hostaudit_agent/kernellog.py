"""What the kernel's log says about lost packets and killed processes: which lines count, and what each is about.

The texts are those of net/netfilter/nf_conntrack_core.c, net/core/neighbour.c, net/ipv4/udp.c, net/ipv4/route.c and
fib_frontend.c, net/ipv4/tcp_input.c, net/netfilter/nf_log_syslog.c, net/sched/sch_generic.c, kernel/hung_task.c,
mm/oom_kill.c and, of drivers, ``Link is Down`` and ``Reset adapter``. Most are rate-limited by the kernel, so counts
are lower bounds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hostaudit_agent.snapshot import KernelEvent

SUBJECTS = 16
"""Of one kind; more are added up as ``others``."""
OTHERS = "others"
LONGEST = 240
"""Characters of an example."""
CHOSEN = 64
"""Processes that are remembered between the two lines about each."""

KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("conntrack-full", re.compile(r"conntrack: table full(?: in netns (\d+))?")),
    ("neigh-full", re.compile(r"(\w+): neighbor table overflow!")),
    ("udp-checksum", re.compile(r"UDP(?:v6)?: bad checksum\. From (\S+?):\d+ to \S+:(\d+)")),
    ("martian", re.compile(r"martian (?:source|destination) .*, (?:on )?dev (\S+)")),
    ("syn-flood", re.compile(r"Possible SYN flooding on port (\S+?)\.? ")),
    ("nic-reset", re.compile(r"NETDEV WATCHDOG: (\S+)|(\S+): (?:Reset adapter|Detected .*Hardware Unit Hang)")),
    ("link-down", re.compile(r"(\S+): (?:NIC |Network )?Link is Down")),
    ("hung-task", re.compile(r"INFO: task (\S+?):\d+ blocked for more than")),
)
_INVALID = re.compile(r"nf_ct_\S+: invalid")
_FIELD = re.compile(r"\b(IN|PHYSIN|SRC|SPT|DST|DPT)=(\S+)")
_KILLED = re.compile(r"Killed process (\d+) \(")
_CHOSEN = re.compile(r"oom-kill:.*\btask_memcg=([^,]*),.*\bpid=(\d+)")
_SUPPRESSED = re.compile(r"(\d+) callbacks suppressed")


class Line(NamedTuple):
    """One line of the kernel's log."""

    time: float
    """Unix time"""
    text: str
    during: bool
    """It was logged between the two samples."""


class Tally:
    """Adds up lines, in the order in which they were logged."""

    def __init__(self) -> None:
        self.suppressed = 0
        self._events: dict[tuple[str, str], KernelEvent] = {}
        self._groups: dict[str, str] = {}

    def add(self, line: Line) -> None:
        """Count one line, where it is of a kind that counts."""
        chosen = _CHOSEN.search(line.text)
        if chosen:  # the kernel says first which process it takes, with its control group, and then that it killed it
            if len(self._groups) >= CHOSEN:
                self._groups.clear()
            self._groups[chosen[2]] = chosen[1]
            return
        more = _SUPPRESSED.search(line.text)
        if more:
            self.suppressed += int(more[1])
            return
        found = self._kind(line.text)
        if found:
            self._count(found[0], found[1], line)

    def _kind(self, text: str) -> tuple[str, str] | None:
        killed = _KILLED.search(text)
        if killed:
            group = self._groups.pop(killed[1], "")
            return "oom-kill", group if group.strip("/") else "the whole machine"
        if _INVALID.search(text):
            return "invalid-new", _packet(text)
        for kind, pattern in KINDS:
            match = pattern.search(text)
            if match:
                return kind, " port ".join(part for part in match.groups() if part)
        return None

    def _count(self, kind: str, subject: str, line: Line) -> None:
        key = (kind, subject)
        if key not in self._events and sum(k == kind for k, _ in self._events) >= SUBJECTS:
            key = (kind, OTHERS)
        event = self._events.setdefault(key, KernelEvent(*key, count=0, first=line.time, last=line.time))
        event.count += 1
        event.last = line.time
        event.during += line.during
        event.example = line.text[:LONGEST]

    def events(self) -> list[KernelEvent]:
        """Return what was counted, by kind, the most frequent subject first."""
        return sorted(self._events.values(), key=lambda event: (event.kind, -event.count, event.subject))


def _packet(text: str) -> str:
    """Return ``tap101i0 10.0.0.100:8080 ACK SYN``: the port it came in by, who sent it, and its TCP flags.

    The receiver's port is another one for each connection, so it is left out.
    """
    fields = dict(_FIELD.findall(text))
    flags = " ".join(word for word in ("ACK", "SYN", "FIN", "RST") if f" {word} " in f"{text} ")
    source = fields.get("SRC", "") + (f":{fields['SPT']}" if "SPT" in fields else "")
    return " ".join(part for part in (fields.get("PHYSIN") or fields.get("IN", ""), source, flags) if part)
