"""Writes a run: what is new of each host, its moving values, the verdicts; and removes what is too old."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, exists, func, insert, select, update

from hostaudit.history.pack import deflate, split
from hostaudit.history.tables import BLOB, HOST, RUN, SEEN, STATE, TOLD
from hostaudit.history.verdicts import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from hostaudit.journal.engine import Database
    from hostaudit.model import Collected, Host, Run

INVENTORY = "inventory"
"""The pseudo-surface of what the inventory says about a host: its groups and the variables of ours."""
NEVER_KEPT = ("pass", "secret", "token", "vault")
"""Parts of names of variables that are not stored."""
MOST = 500
"""Values in one statement."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is stored of one answer: the hashes of its surfaces, and its moving values."""

    name: str
    hashes: dict[str, bytes]
    moving: bytes


def store(database: Database, run: Run, answers: Iterable[Collected], kind: str) -> int:
    """Write a run and return its number. Hosts that did not answer keep the state that they were last seen in.

    The work is done before the transaction, which keeps other controllers out; it needs what it prepared only where
    nobody removed old runs meanwhile, and else prepares again.
    """
    answers = list(answers)
    with database.reading() as connection:
        known = {digest for _, _, _, digest in _newest(connection)}
    for there in (known, set()):
        fresh: dict[bytes, bytes] = {}
        prepared = [prepare(one, there, fresh) for one in answers]
        try:
            with database.writing() as connection:
                return write(connection, run, kind, prepared, fresh)
        except KeyError:
            if not there:
                raise
    raise AssertionError("the second attempt has all it needs")


def prepare(one: Collected, known: set[bytes], fresh: dict[bytes, bytes]) -> Prepared:
    """Split an answer; what is not ``known`` is added to ``fresh``, hash -> compressed."""
    parts, moving = split(one.snapshot)
    parts[INVENTORY] = msgspec.json.encode({"groups": list(one.host.groups), "variables": _ours(one.host)})
    hashes = {surface: hashlib.sha256(data).digest() for surface, data in parts.items()}
    for surface, digest in hashes.items():
        if digest not in known and digest not in fresh:
            fresh[digest] = deflate(parts[surface])
    return Prepared(one.host.name, hashes, moving)


def _ours(host: Host) -> dict[str, Any]:
    """Return the variables that say something about the host to this program, without what looks like a secret."""
    kept = (k for k in sorted(host.variables) if k.startswith("hostaudit_"))
    return {k: host.variables[k] for k in kept if not any(word in k.lower() for word in NEVER_KEPT)}


def _newest(connection: Connection) -> Iterator[tuple[int, str, int, bytes]]:
    """Yield (host, surface, blob, its hash) of what every host was last seen with."""
    last = select(STATE.c.host, STATE.c.surface, func.max(STATE.c.run).label("run"))
    newest = last.group_by(STATE.c.host, STATE.c.surface).subquery()
    query = select(STATE.c.host, STATE.c.surface, STATE.c.blob, BLOB.c.hash).join(
        newest,
        (STATE.c.host == newest.c.host) & (STATE.c.surface == newest.c.surface) & (STATE.c.run == newest.c.run),
    )
    for host, surface, blob, digest in connection.execute(query.outerjoin(BLOB, BLOB.c.number == STATE.c.blob)):
        yield host, surface, blob, digest or b""


def write(
    connection: Connection, run: Run, kind: str, prepared: Sequence[Prepared], fresh: Mapping[bytes, bytes]
) -> int:
    """Write what was prepared, in a transaction that writes. Raises KeyError for a surface that is nowhere."""
    number: int = (connection.scalar(select(func.max(RUN.c.number))) or 0) + 1
    hosts = _hosts(connection, [one.name for one in prepared], number)
    before: dict[int, dict[str, int]] = {}
    blobs: dict[bytes, int] = {}
    for host, surface, blob, digest in _newest(connection):
        before.setdefault(host, {})[surface] = blob
        blobs[digest] = blob
    _blobs(connection, {d for one in prepared for d in one.hashes.values()} - blobs.keys(), fresh, blobs)
    states, seen = [], []
    for one in prepared:
        host = hosts[one.name]
        was = before.get(host, {})
        now = {surface: blobs[digest] for surface, digest in one.hashes.items()} | {
            surface: 0 for surface in was if surface not in one.hashes
        }
        states += [
            {"host": host, "surface": s, "run": number, "blob": blob} for s, blob in now.items() if was.get(s) != blob
        ]
        seen.append({"run": number, "host": host, "moving": one.moving})
    for table, rows in ((STATE, states), (SEEN, seen)):
        if rows:
            connection.execute(insert(table), rows)
    connection.execute(
        insert(RUN).values(
            number=number,
            id=run.id,
            kind=kind,
            started=run.started,
            finished=run.finished,
            version=run.version,
            hosts=len(run.hosts),
            counts=msgspec.json.encode(run.counts).decode(),
            document=encode(run),
        )
    )
    return number


def _hosts(connection: Connection, names: Sequence[str], run: int) -> dict[str, int]:
    """Return the numbers of the hosts, of which this is the last run now."""
    known: dict[str, int] = {row.name: row.number for row in connection.execute(select(HOST.c.name, HOST.c.number))}
    begin = max(known.values(), default=0) + 1
    new = {name: begin + n for n, name in enumerate(name for name in names if name not in known)}
    if new:
        added = [{"number": n, "name": name, "last": run, "reported": 0} for name, n in new.items()]
        connection.execute(insert(HOST), added)
    for some in _cut([known[name] for name in names if name in known]):
        connection.execute(update(HOST).where(HOST.c.number.in_(some)).values(last=run))
    return known | new


def _blobs(connection: Connection, wanted: set[bytes], fresh: Mapping[bytes, bytes], blobs: dict[bytes, int]) -> None:
    """Add to ``blobs`` the numbers of those that are wanted; store those that are not there."""
    for some in _cut(sorted(wanted)):
        rows = connection.execute(select(BLOB.c.hash, BLOB.c.number).where(BLOB.c.hash.in_(some)))
        blobs.update({bytes(digest): number for digest, number in rows})
    begin = (connection.scalar(select(func.max(BLOB.c.number))) or 0) + 1
    new = {digest: begin + n for n, digest in enumerate(sorted(wanted - blobs.keys()))}
    if new:
        rows_ = [{"number": n, "hash": digest, "data": fresh[digest]} for digest, n in new.items()]
        connection.execute(insert(BLOB), rows_)
        blobs.update(new)


def prune(database: Database, before: str) -> int:
    """Remove the runs that started before a time (as runs tell theirs), except the newest; return how many.

    Of each host the last state before that stays: it is what the oldest run that is kept saw.
    """
    with database.reading() as connection:
        newest = select(func.max(RUN.c.number)).scalar_subquery()
        old: int | None = connection.scalar(
            select(func.max(RUN.c.number)).where(RUN.c.started < before, RUN.c.number < newest)
        )
    if old is None:
        return 0
    later = STATE.alias("later")
    hidden = exists().where(
        later.c.host == STATE.c.host, later.c.surface == STATE.c.surface, later.c.run > STATE.c.run, later.c.run <= old
    )
    gone = select(HOST.c.number).where(HOST.c.last <= old)
    with database.writing() as connection:
        removed = connection.execute(delete(RUN).where(RUN.c.number <= old)).rowcount
        connection.execute(delete(SEEN).where(SEEN.c.run <= old))
        connection.execute(delete(STATE).where(STATE.c.run <= old, hidden))
        connection.execute(delete(STATE).where(STATE.c.host.in_(gone)))
        connection.execute(delete(TOLD).where(TOLD.c.host.in_(select(HOST.c.name).where(HOST.c.last <= old))))
        connection.execute(delete(HOST).where(HOST.c.last <= old))
        used = exists().where(STATE.c.blob == BLOB.c.number)
        connection.execute(delete(BLOB).where(~used))
    return removed


def _cut(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), MOST):
        yield values[start : start + MOST]
