"""How a name server answers: A and AAAA in parallel from one socket, as the C library asks.

One lost answer of the two makes the C library wait 5 s and ask again (resolv.conf(5), ``timeout``); that is the stall
which applications see. A name without a dot at its end is tried with the search domains first, as ``ndots`` says.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from hostaudit_agent.collectors import conntrack
from hostaudit_agent.records import dataclass, field
from hostaudit_agent.root import Root

TYPES = {"A": 1, "AAAA": 28}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
SYSTEM = "system"


@dataclass
class Lookup:
    """One name, looked up once: as the C library would, search domains and repetitions included."""

    ms: float
    """Until both answers were there, or until it was given up."""
    sent: int = 0
    """Queries sent."""
    slowest: dict[str, float | None] = field(default_factory=dict)
    """``A``, ``AAAA`` -> milliseconds until its answer, repetitions included; ``None``: no answer at all."""
    rcodes: dict[str, str] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)


@dataclass
class Asked:
    """What one server said about one name."""

    server: str
    name: str
    relative: list[Lookup] = field(default_factory=list)
    """The name as it is, with search domains."""
    absolute: list[Lookup] = field(default_factory=list)
    """The name with a dot at its end."""
    search: list[str] = field(default_factory=list)
    ndots: int = 1
    error: str = ""
    timeout: float = 5.0
    """Seconds after which a query is sent again."""
    refused: int | None = None
    """Entries that clashed in connection tracking here meanwhile, and were refused; ``None``: not read."""


@dataclass
class Resolver:
    """What resolv.conf says."""

    servers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2


def perform(task: dict[str, Any]) -> list[Asked]:
    """Ask ``server`` (``system``: the first of resolv.conf) for each of ``names``, ``tries`` times."""
    with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        own = resolver(file.read())
    own.timeout, own.attempts = float(task.get("timeout", own.timeout)), int(task.get("attempts", own.attempts))
    own.search = task.get("search", own.search)
    own.ndots = int(task.get("ndots", own.ndots))
    server = task["server"]
    if server == SYSTEM:
        server = own.servers[0] if own.servers else "127.0.0.1"
    port, tries, seconds = int(task.get("port", 53)), int(task.get("tries", 3)), float(task.get("seconds", 0))
    return [_asked(server, port, name, tries, own, seconds=seconds) for name in task["names"]]


def resolver(text: str) -> Resolver:
    """Read resolv.conf; what is not understood is left out, as the C library does."""
    found = Resolver()
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            found.servers.append(words[1])
        elif words[0] in ("search", "domain"):
            found.search = words[1:]
        elif words[0] == "options":
            for option in words[1:]:
                name, _, value = option.partition(":")
                if name in ("ndots", "timeout", "attempts") and value.isdigit():
                    setattr(found, name, int(value))
    return found


def _asked(server: str, port: int, name: str, tries: int, own: Resolver, *, seconds: float) -> Asked:
    """Ask for one name; where ``seconds`` is not 0, no lookup begins later than that."""
    asked = Asked(server, name, search=own.search, ndots=own.ndots, timeout=own.timeout)
    before, end = _tracking(), time.monotonic() + seconds
    try:
        for number in range(tries):
            if seconds and number and time.monotonic() > end:
                break
            asked.absolute.append(lookup(server, port, [name.rstrip(".")], own))
            if not name.endswith("."):
                asked.relative.append(lookup(server, port, candidates(name, own), own))
    except (OSError, ValueError) as problem:
        asked.error = getattr(problem, "strerror", None) or str(problem)
    asked.refused = _refused(before, _tracking())
    return asked


def _tracking() -> conntrack.Sample | None:
    with suppress(OSError, ValueError):
        return conntrack.sample(Root())
    return None


def _refused(before: conntrack.Sample | None, now: conntrack.Sample | None) -> int | None:
    """Return the clashes that were not resolved (nf_ct_resolve_clash in net/netfilter/nf_conntrack_core.c).

    Each counts as ``drop``, too, but so does a full table; a hash chain that is too long counts as ``insert_failed``.
    """
    delta = conntrack.difference(before, now) if before and now and before.source else None
    return None if delta is None else max(0, delta.get("insert_failed", 0) - delta.get("chain_toolong", 0))


def candidates(name: str, own: Resolver) -> list[str]:
    """Return the names in the order in which the C library tries them (resolv.conf(5), ``ndots``)."""
    searched = [f"{name}.{domain.rstrip('.')}" for domain in own.search if domain.rstrip(".")]
    return [name, *searched] if name.count(".") >= own.ndots else [*searched, name]


def lookup(server: str, port: int, names: list[str], own: Resolver) -> Lookup:
    """Try the names one after the other until one has an address."""
    began = time.monotonic()
    found = Lookup(0.0)
    for name in names:
        _both(server, port, name, own, found)
        if found.addresses or None in found.slowest.values():
            break
    found.ms = round((time.monotonic() - began) * 1000, 3)
    return found


def _both(server: str, port: int, name: str, own: Resolver, found: Lookup) -> None:
    """Ask for both types from one socket, and again for what was not answered."""
    began = time.monotonic()
    found.slowest = dict.fromkeys(TYPES)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    for _ in range(own.attempts):
        open_ = {random.randint(0, 65535): t for t in TYPES if found.slowest[t] is None}  # noqa: S311 - a probe, no cache
        if not open_:
            return
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((server, port))
            end = time.monotonic() + own.timeout
            for number, kind in open_.items():
                try:
                    sock.send(query(number, name, TYPES[kind]))
                except ConnectionRefusedError:  # the answer to the query before: nobody listens there, see below
                    end = 0.0
                    break
                found.sent += 1
            while open_ and (left := end - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                try:
                    reply = sock.recv(4096)
                except OSError:  # nobody listens there: the C library waits no longer either
                    break
                said = answer(reply)
                if said is None or said[0] not in open_:
                    continue
                number, rcode, cut, addresses = said
                kind = open_.pop(number)
                if cut:
                    rcode, addresses = _by_tcp(server, port, name, kind, own.timeout) or (rcode, addresses)
                found.slowest[kind] = round((time.monotonic() - began) * 1000, 3)
                found.rcodes[kind] = rcode
                found.addresses += addresses


def _by_tcp(server: str, port: int, name: str, kind: str, timeout: float) -> tuple[str, list[str]] | None:
    """Ask again over TCP, as for an answer that was cut off."""
    message = query(random.randint(0, 65535), name, TYPES[kind])  # noqa: S311 - as above
    try:
        with socket.create_connection((server, port), timeout) as sock, sock.makefile("rb") as file:
            sock.sendall(struct.pack("!H", len(message)) + message)
            said = answer(file.read(struct.unpack("!H", file.read(2))[0]))
    except (OSError, struct.error):
        return None
    return (said[1], said[3]) if said else None


def query(number: int, name: str, kind: int) -> bytes:
    """Return a query (RFC 1035, 4.1) with recursion desired. Raises ValueError for what is no name."""
    labels = [label.encode("idna") if not label.isascii() else label.encode() for label in name.split(".") if label]
    if any(len(label) > 63 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise ValueError(f"{name!r} is too long for a name")
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + encoded + struct.pack("!HH", kind, 1)


def answer(data: bytes) -> tuple[int, str, bool, list[str]] | None:
    """Return number, rcode, whether it was cut off, and the addresses; ``None`` for what is no answer."""
    try:
        number, flags, questions, records, _, _ = struct.unpack_from("!HHHHHH", data)
        if not flags & 0x8000:
            return None
        at = 12
        for _ in range(questions):
            at = _after_name(data, at) + 4
        addresses = []
        for _ in range(records):
            at = _after_name(data, at)
            kind, _, _, length = struct.unpack_from("!HHIH", data, at)
            at += 10
            content, at = data[at : at + length], at + length
            if (kind, length) == (1, 4):
                addresses.append(socket.inet_ntop(socket.AF_INET, content))
            elif (kind, length) == (28, 16):
                addresses.append(socket.inet_ntop(socket.AF_INET6, content))
    except (struct.error, IndexError, ValueError):
        return None
    return number, RCODES.get(flags & 15, f"rcode {flags & 15}"), bool(flags & 0x0200), addresses


def _after_name(data: bytes, at: int) -> int:
    while True:
        length = data[at]
        if length & 0xC0 == 0xC0:
            return at + 2
        at += 1 + length
        if not length:
            return at
