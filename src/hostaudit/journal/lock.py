"""The lock of a fleet: two applies cannot meet. It is a row, so it holds across machines, and outlives a crash."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from hostaudit.errors import FleetLockedError, JournalError
from hostaudit.journal.entry import Actor, told
from hostaudit.journal.process import Fate, Process
from hostaudit.journal.tables import FLEET_LOCK

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from hostaudit.journal.engine import Database


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a fleet."""

    fleet: str
    token: str
    change: str
    since: str
    """UTC, as in the journal."""
    actor: Actor
    process: Process

    def sentence(self) -> str:
        """Say who it is, and whether the process is still there as far as can be told."""
        for_change = f" for change {self.change}" if self.change else ""
        fate = {
            Fate.ALIVE: "which is running",
            Fate.GONE: "which is gone: it ended without releasing the fleet",
            Fate.UNKNOWN: "which cannot be looked up from here",
        }[self.process.fate()]
        return (
            f"{self.actor.user} on {self.actor.machine} since {self.since[:19]}Z{for_change}, "
            f"process {self.process.pid}, {fate}"
        )


@dataclass(frozen=True, slots=True)
class FleetLock:
    """A lock that this process took."""

    database: Database
    holder: Holder

    def check(self) -> None:
        """Raise FleetLockedError if somebody broke the lock meanwhile: nothing more may be changed then."""
        with self.database.reading() as connection:
            now = holder_of(connection, self.holder.fleet)
        if now is None or now.token != self.holder.token:
            by = "it is free now" if now is None else f"it is held by {now.sentence()}"
            raise FleetLockedError(
                f"the lock of fleet {self.holder.fleet} was broken while this change ran; {by}; "
                "`hostaudit log --kind lock-broken` says by whom"
            )

    def release(self) -> None:
        """Give the fleet back, if it is still this process's."""
        with self.database.writing() as connection:
            connection.execute(delete(FLEET_LOCK).where(FLEET_LOCK.c.token == self.holder.token))


def take(database: Database, fleet: str, actor: Actor, now: datetime, change: str) -> FleetLock:
    """Lock the fleet. Raises FleetLockedError naming who holds it: a lock is never stolen."""
    mine = Holder(fleet, secrets.token_hex(16), change, told(now), actor, Process.this())
    with database.writing() as connection:
        other = holder_of(connection, fleet)
        if other is not None:
            raise FleetLockedError(
                f"fleet {fleet} is locked by {other.sentence()}; wait for it, or if that change is surely over, "
                f"break the lock: `hostaudit unlock {fleet} --reason ...`"
            )
        who = {f"actor_{part.name}": getattr(actor, part.name) for part in fields(Actor)}
        what = {"fleet": fleet, "token": mine.token, "change": change, "since": mine.since}
        process = {"pid": mine.process.pid, "process": mine.process.mark}
        connection.execute(insert(FLEET_LOCK).values(**who, **what, **process))
    return FleetLock(database, mine)


def remove(connection: Connection, fleet: str) -> Holder:
    """Delete the lock within a transaction and return who held it. Raises JournalError when nobody did."""
    holder = holder_of(connection, fleet)
    if holder is None:
        raise JournalError(f"fleet {fleet} is not locked; nothing was done")
    connection.execute(delete(FLEET_LOCK).where(FLEET_LOCK.c.token == holder.token))
    return holder


def holder_of(connection: Connection, fleet: str) -> Holder | None:
    """Return who holds the fleet."""
    query = select(FLEET_LOCK).where(FLEET_LOCK.c.fleet == fleet)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    actor = Actor(*(row[f"actor_{part.name}"] for part in fields(Actor)))
    process = Process(row["pid"], row["process"])
    return Holder(row["fleet"], row["token"], row["change"], row["since"], actor, process)
