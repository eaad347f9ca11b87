"""Who changed what, when, from where, and why: append-only, hash-chained, in SQLite or PostgreSQL.

Written ahead of each step and after it, so that a controller that was killed leaves a record to go on from. Every
write is a transaction that excludes other writers, so the chain has no forks; triggers refuse updates and deletes;
the hashes show what somebody changed who had the power to remove the triggers.
"""

from __future__ import annotations

from hostaudit.journal.entry import Actor, Entry, Kind
from hostaudit.journal.lock import FleetLock, Holder
from hostaudit.journal.process import whoami
from hostaudit.journal.store import Journal
from hostaudit.journal.verify import Head, Problem, Verdict

__all__ = [
    "Actor",
    "Entry",
    "FleetLock",
    "Head",
    "Holder",
    "Journal",
    "Kind",
    "Problem",
    "Verdict",
    "whoami",
]
