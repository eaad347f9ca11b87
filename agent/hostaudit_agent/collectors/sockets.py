"""TCP sockets of this network namespace: by state, and where they pile up.

Counted is what fills a limit: connections that nobody closes (CLOSE_WAIT), handshakes that wait (SYN_RECV), queues of
listeners, local ports towards one target. Names of processes cost a look into /proc/PID/fd of all of them, so they are
looked for only where something piles up.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Dict, FrozenSet, List, NamedTuple, Tuple

from hostaudit_agent import holders, tcpdiag
from hostaudit_agent.budget import fair
from hostaudit_agent.endpoint import end, network, prefix, swapped, text
from hostaudit_agent.localports import usable
from hostaudit_agent.snapshot import CloseWait, Listener, Sockets, Target
from hostaudit_agent.tcpdiag import CLOSE_WAIT, ESTABLISHED, LISTEN, SYN_RECV, TIME_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hostaudit_agent.root import Root
    from hostaudit_agent.tcpdiag import Row

MOST = 250_000
"""Sockets that are counted: about a third of a second of CPU."""
SECONDS = 5.0
"""For which they are counted, on a machine that has hardly any time for us."""
MOST_ASKED = 1_000
"""Sockets in CLOSE_WAIT that are asked how long they have been idle: the hash's order makes them a fair sample."""
PILED_UP = 50
"""From here on sockets in CLOSE_WAIT are told apart by process and peer."""
HALF_OPEN = 16
"""Handshakes that wait at one port, from which on its process is looked for."""
USUAL = 128
"""The backlog of a listener where it is not told: what most programs ask for."""
LISTENERS, GROUPS, PEERS, TARGETS, NETWORKS = 64, 8, 4, 8, 8
FEW_PORTS = 16

Peer = Tuple[int, bytes]
"""Address family and address."""
End = Tuple[int, bytes, bytes, int]
"""Address family, local and remote address, remote port in network order."""


class Sample(NamedTuple):
    """What is read twice."""

    dropped: Dict[int, int]
    """Inode of a listener -> connections that it ever refused."""
    close_wait: FrozenSet[int]
    """Inodes of the sockets in CLOSE_WAIT."""


class Tally:
    """What one walk over the sockets counts."""

    def __init__(self, usable: bytearray) -> None:
        self.usable = usable
        self.number = 0
        self.states = [0] * 256
        self.keepalive = 0
        self.inodes = array("I")
        self.close_wait: List[Row] = []
        self.networks: Counter[Peer] = Counter()
        self.half_open: Counter[int] = Counter()
        self.targets: Dict[End, int] = {}
        self.closed: Dict[End, int] = {}

    def add(self, batch: List[Row]) -> None:
        """Count these sockets. This loop is most of what a walk costs beside the kernel's own share."""
        self.number += len(batch)
        usable, states, targets, known = self.usable, self.states, self.targets, self.inodes.append
        for row in batch:
            family, state, timer, sport, dport, src, dst, _, _, inode = row
            states[state] += 1
            if inode:
                known(inode)
            if usable[sport]:
                key = (family, src, dst, dport)
                targets[key] = targets.get(key, 0) + 1
                if state == TIME_WAIT:
                    self.closed[key] = self.closed.get(key, 0) + 1
            if state == ESTABLISHED:
                self.keepalive += timer == tcpdiag.KEEPALIVE
            elif state == CLOSE_WAIT:
                self.close_wait.append(row)
            elif state == SYN_RECV:
                self.networks[network(family, dst)] += 1
                self.half_open[sport] += 1


def sample(root: Root) -> Sample:
    """Return what the listeners refused so far, and the sockets in CLOSE_WAIT by peer. Raises OSError, ValueError."""
    dropped = {row[-1]: count for row, count in tcpdiag.listeners(root) if count is not None}
    waiting: List[int] = []
    for batch in tcpdiag.batches(root, 1 << CLOSE_WAIT):
        waiting += [row[-1] for row in batch]
        if len(waiting) >= MOST:
            break
    return Sample(dropped, frozenset(waiting))


def collect(root: Root, before: Sample | None, unread: Callable[[str, str], None]) -> Sockets:
    """Return the sockets, counted, and the differences to ``before``."""
    listening = list(tcpdiag.listeners(root))
    flags, ports = usable(root, {row[3] for row, _ in listening})
    tally = Tally(flags)
    why = _count(root, tally)
    found = Sockets(tcpdiag.source(root), ports=ports, keepalive=tally.keepalive, truncated=bool(why))
    if why:
        unread("table", why)
    tally.states[LISTEN] = len(listening)
    found.states = {name: count for name, count in zip(tcpdiag.NAMES, tally.states) if count}
    found.half_open = {prefix(*net): count for net, count in _top(tally.networks, NETWORKS)}
    found.targets = [
        Target(text(key[0], key[1]), end(key[0], key[2], key[3]), count, tally.closed.get(key, 0))
        for key, count in _top(tally.targets, TARGETS)
        if count >= FEW_PORTS
    ]
    owned = [(_listener(row, count, before, tally.half_open), row[-1]) for row, count in listening]
    owned.sort(key=lambda one: (-(one[0].dropped or 0), -fill(one[0]), -one[0].half_open, one[0].address))
    found.listeners = [one for one, _ in owned[:LISTENERS]]
    suspects = {inode: one for one, inode in owned[:LISTENERS] if _suspect(one)}
    piled = len(tally.close_wait) >= PILED_UP
    if suspects or piled:
        held = _holders(root, set(suspects), tally if piled else None, unread)
        for inode, one in suspects.items():
            one.process = holders.process(root, held.of[inode]) if inode in held.of else None
        if piled:
            found.close_wait = _groups(root, tally.close_wait, held, before)
    return found


def _count(root: Root, tally: Tally) -> str:
    """Count all sockets but listeners; return why that ended early, if it did. Raises OSError, ValueError."""
    began = time.monotonic()
    seconds = fair(SECONDS)
    for batch in tcpdiag.batches(root, tcpdiag.ALL & ~(1 << LISTEN)):
        tally.add(batch)
        if tally.number >= MOST:
            return f"more than {MOST} sockets: the rest was not counted"
        if time.monotonic() - began > seconds:
            return f"budget: {seconds:.2g} s are over, {tally.number} sockets were counted"
    return ""


def _listener(row: Row, count: int | None, before: Sample | None, half_open: Counter[int]) -> Listener:
    old = before.dropped.get(row[-1]) if before else None
    return Listener(
        end(row[0], row[5], row[3]),
        row[7],
        None if row[8] == tcpdiag.UNTOLD else row[8],
        half_open[row[3]],
        None if count is None or old is None else (count - old) & 0xFFFFFFFF,
    )


def fill(one: Listener) -> float:
    """Return how full the queue is. The kernel takes one more than the backlog: Recv-Q 129 of Send-Q 128 is full."""
    return one.queue / max(USUAL if one.backlog is None else one.backlog, 1)


def _suspect(one: Listener) -> bool:
    return bool(one.dropped) or (one.queue > 0 and fill(one) >= 0.5) or one.half_open >= HALF_OPEN


def _holders(root: Root, wanted: set[int], tally: Tally | None, unread: Callable[[str, str], None]) -> holders.Holders:
    if not root.live:
        unread("processes", "which process holds a socket is not in a captured tree")
        return holders.Holders()
    if tally:
        wanted = wanted | {row[-1] for row in tally.close_wait}
    held = holders.find(root, wanted, set(tally.inodes) if tally else wanted)
    if held.hidden and not wanted <= held.of.keys():
        unread("processes", f"of {held.hidden} processes the sockets cannot be seen: needs CAP_SYS_PTRACE")
    if held.truncated:
        unread("processes", f"more than {holders.MOST_LINKS} open files: the rest was not looked at")
    return held


def _groups(root: Root, waiting: list[Row], held: holders.Holders, before: Sample | None) -> list[CloseWait]:
    """Return the sockets in CLOSE_WAIT by process."""
    idle = tcpdiag.idle(root, 1 << CLOSE_WAIT, MOST_ASKED)
    groups: Dict[int, List[Row]] = defaultdict(list)
    for row in waiting:
        groups[held.of.get(row[-1], 0)].append(row)
    left = len(before.close_wait.difference([row[-1] for row in waiting])) if before else 0
    found = []
    for pid, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:GROUPS]:
        one = CloseWait(len(rows), _peers(rows), _same(row[3] for row in rows))
        if pid:
            one.process, one.sockets = holders.process(root, pid), held.sockets[pid]
        if before:
            one.increase = len({row[-1] for row in rows} - before.close_wait) - left
        times = sorted(idle[row[-1]] for row in rows if row[-1] in idle)
        if times:
            one.idle = [round(seconds, 1) for seconds in (times[0], times[len(times) // 2], times[-1])]
        found.append(one)
    return found


def _peers(rows: list[Row]) -> dict[str, int]:
    """Return the peers with the most of these sockets; with the port where that is one for all: it is the server."""
    top = _top(Counter([(row[0], row[6]) for row in rows]), PEERS)
    found = {}
    for (family, address), count in top:
        port = _same(row[4] for row in rows if row[6] == address)
        found[text(family, address) if port is None else end(family, address, swapped(port))] = count
    return found


def _same(ports: Iterable[int]) -> int | None:
    """Return the port where it is one for all."""
    one = set(ports)
    return swapped(one.pop()) if len(one) == 1 else None


def _top(counter: Dict, most: int) -> list:  # type: ignore[type-arg]
    """Return the largest; of equal ones the smaller key, so that two readings are alike."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:most]
