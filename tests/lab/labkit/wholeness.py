"""What hosts are after a fault, seen from inside, past sshd and hostaudit: bytes, modes, kernel values; and what the
journal and the hosts' own logs say that they are."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit import hosts

# hostaudit.fact holds the name of the last change; whether it is there is compared
STATE = r"""
find /etc /usr/local -type f ! -name hostaudit.fact -exec sha256sum {} + | sed 's/^/sum /'
find /etc /usr/local -printf 'mode %m %u:%g %y %l %p\n'
find /proc/sys/net -type f ! -name nf_conntrack_count ! -name '*_key' ! -name '*_secret' \
  -exec grep -H '' {} + 2>/dev/null || :
ip -o link show dev eth0 | sed 's/^[0-9]*: /link /; s/ state .*//; s/@if[0-9]*//'
nft list ruleset | sed 's/^/nft /'
ip route | sed 's/^/route /'
"""
LEFT = r"""
find /var/lib/hostaudit/guard -mindepth 1 -maxdepth 1 2>/dev/null || :
find /etc/systemd/system -name '*hostaudit-guard*' || :
systemctl list-units --all --plain --no-legend 'hostaudit-guard*' | grep -v not-found || :
"""
ARMED = "find /var/lib/hostaudit/guard -mindepth 1 -maxdepth 1 ! -name '*.reverted' 2>/dev/null || :"
LOG = "cat /var/log/hostaudit/changes.jsonl 2>/dev/null || :"
CHANGED, BEFORE, HALF = "wholly changed", "wholly as before", "half changed"


def state(name: str) -> frozenset[str]:
    """Return files, modes, kernel values, MTU, routes and rules of a host, a line each.

    Not the guard's own units: they may stay for a while and watch. ``LEFT`` finds them where none may be left.
    """
    return frozenset(line for line in hosts.script(name, STATE).splitlines() if "hostaudit-guard" not in line)


@dataclass(frozen=True)
class Ends:
    """The two states of a host that are right."""

    before: frozenset[str]
    changed: frozenset[str]

    def judge(self, name: str, *, unasked: bool = False) -> tuple[str, str]:
        """Return which of the two a host is in, or that it is neither, with what is different.

        A host that was not asked since it went back by itself still keeps what it needs to do that once more.
        """
        left = hosts.script(name, ARMED if unasked else LEFT).split("\n")[0]
        now = state(name)
        found = {self.before: BEFORE, self.changed: CHANGED}.get(now, HALF)
        if left:
            return HALF, f"a guard is left: {left}"
        nearest = min((self.before, self.changed), key=lambda end: len(now ^ end))
        return found, "" if found != HALF else "; ".join(sorted(now ^ nearest)[:6])


@dataclass(frozen=True)
class Record:
    """What a journal says about the last change that began in it."""

    change: str = ""
    action: str = ""
    of: str = ""
    hosts: tuple[str, ...] = ()
    ended: bool = False
    states: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    locked: bool = False

    def says(self, name: str, started: str) -> str:
        """Return what a host is, as the journal tells it; ``started`` is what it was when the command began."""
        state = self.states.get(name, "")
        if name not in self.hosts or not state or state == "not touched":
            return started
        if state == "confirmed":
            return BEFORE if self.action == "rollback" else CHANGED
        if state == "as before":
            return CHANGED if self.action == "rollback" else BEFORE
        return state


def record(journal: Path, since: int = 0) -> Record:
    """Read a journal, as far as its last change goes; nothing where none began after the entry ``since``."""
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10) as database:
        rows = database.execute(
            "SELECT sequence, change, host, kind, payload FROM journal ORDER BY sequence"
        ).fetchall()
        locked = bool(database.execute("SELECT count(*) FROM fleet_lock").fetchone()[0])
    begun = next((row for row in reversed(rows) if row[3] == "change-begin" and row[0] > since), None)
    if begun is None:
        return Record(locked=locked)
    about = json.loads(begun[4])
    mine = [(row[2], row[3], json.loads(row[4])) for row in rows if row[1] == begun[1] and row[0] > begun[0]]
    ends = [(host, p) for host, kind, p in mine if kind == "step" and p.get("step") == "state"]
    states = {host: p["state"] for host, p in ends}
    details = {host: p.get("detail", "") for host, p in ends}
    ended = any(kind == "change-end" for _, kind, _ in mine)
    return Record(begun[1], about["action"], about.get("of", ""), tuple(about["hosts"]), ended, states, details, locked)


def last(journal: Path) -> int:
    """Return the number of a journal's last entry."""
    if not journal.exists():
        return 0
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10) as database:
        try:
            return int(database.execute("SELECT coalesce(max(sequence), 0) FROM journal").fetchone()[0])
        except sqlite3.OperationalError:  # killed before its schema was there
            return 0


def sound(journal: Path) -> str:
    """Return what is wrong with the chain of a journal; empty where nothing is."""
    from hostaudit.journal import Journal

    with Journal.open(f"sqlite:///{journal}", readonly=True) as opened:
        verdict = opened.verify()
    return "" if verdict.ok else verdict.reason


def host_says(name: str, change: str) -> str:
    """Return the last event of a change in the host's own log; empty where there is none."""
    found = ""
    for line in hosts.script(name, LOG).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return f"not JSON: {line}"
        if entry.get("change") == change and entry.get("event") in ("confirmed", "reverted", "undone"):
            found = entry["event"]
    return found


@dataclass
class Judgement:
    """What a fault came to: each host, and what is wrong."""

    hosts: dict[str, str] = field(default_factory=dict)
    half: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    faults: int = 1
    """How many there were."""

    def __str__(self) -> str:
        return "; ".join([*self.half, *self.journal])

    def told(self) -> str:
        """Return what is wrong, or where nothing is, what each host is."""
        return str(self) or ", ".join(f"{name} {state}" for name, state in self.hosts.items())


def judge(
    journal: Path, names: Sequence[str], ends: Mapping[str, Ends], started: str, since: int, *, logs: bool = True
) -> Judgement:
    """Hold hosts against the two right states, the journal against the hosts, and their own logs against both."""
    found = Judgement()
    told = record(journal, since) if last(journal) else Record()
    for name in names:
        found.hosts[name], why = ends[name].judge(name)
        if found.hosts[name] == HALF:
            found.half.append(f"{name}: half changed: {why}")
        elif found.hosts[name] != (said := told.says(name, started)):
            detail = told.details.get(name, "")
            found.journal.append(f"{name} is {found.hosts[name]}, and the journal says {said}: {detail}")
        elif logs and told.change and found.hosts[name] != started:
            event = host_says(name, told.change)
            if event != "confirmed":
                found.journal.append(f"{name} is {found.hosts[name]}, and its own log says {event or 'nothing'}")
    if told.change and not told.ended:
        found.journal.append(f"the journal has no end of {told.change}")
    if told.locked:
        found.journal.append("the fleet is still locked")
    if last(journal) and (broken := sound(journal)):
        found.journal.append(broken)
    return found
