"""Reads what ``store`` wrote: runs, the state of hosts at a run, and when a fact came."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select

from hostaudit.drift import flat
from hostaudit.drift.model import Since
from hostaudit.errors import UsageError
from hostaudit.history.pack import inflate, join, values_of
from hostaudit.history.store import INVENTORY
from hostaudit.history.tables import BLOB, HOST, RUN, SEEN, STATE
from hostaudit.history.verdicts import decode
from hostaudit.model import Collected, Host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hostaudit.journal.engine import Database
    from hostaudit.model import Run

SOME = 100
"""Hosts whose states are read at once."""
CACHED = 512
"""Surfaces whose facts are kept in memory, 100 KB each at most."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One run of the history, without its verdicts."""

    number: int
    id: str
    kind: str
    """``run`` or ``drift``."""
    started: str
    """RFC 3339 in UTC, as the next."""
    finished: str
    version: str
    hosts: int
    counts: dict[str, int]


class Reader:
    """Reads one history; what was decoded is kept while it is used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._facts: OrderedDict[int, dict[str, str]] = OrderedDict()
        self._runs: dict[int, Stored] = {}

    def runs(self, since: str = "", until: str = "", newest: int = 0) -> list[Stored]:
        """Return the runs that started in [since, until), oldest first; of them only the ``newest`` ones."""
        query = select(*(c for c in RUN.c if c.name != "document")).order_by(RUN.c.number.desc())
        if since:
            query = query.where(RUN.c.started >= since)
        if until:
            query = query.where(RUN.c.started < until)
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(newest) if newest else query).mappings().all()
        return [_stored(row) for row in reversed(rows)]

    def find(self, name: str) -> Stored:
        """Return a run by its id or the beginning of one; by ``last``, ``last~2``; by a time: the last one before it.

        Raises UsageError.
        """
        back = re.fullmatch(r"last(?:~(\d+))?", name)
        if back:
            number = int(back[1] or 0) + 1
            runs = self.runs(newest=number)
            if len(runs) == number:
                return runs[0]
            raise UsageError(f"{name}: the history has {len(runs)} runs; `hostaudit history` lists them")
        query = select(*(c for c in RUN.c if c.name != "document"))
        with self._database.reading() as connection:
            begins = query.where(RUN.c.id.startswith(name, autoescape=True)).order_by(RUN.c.number).limit(3)
            rows = [_stored(row) for row in connection.execute(begins).mappings()]
        exact = [row for row in rows if row.id == name] or rows
        if len(exact) == 1:
            return exact[0]
        if exact:
            raise UsageError(f"several runs begin with {name}: {exact[0].id}, {exact[1].id}, ...")
        time = moment(name)
        if time and (runs := self.runs(until=time, newest=1)):
            return runs[0]
        raise UsageError(f"the history has no run {name!r}; `hostaudit history` lists them")

    def run(self, stored: Stored) -> Run:
        """Return a run with its verdicts."""
        with self._database.reading() as connection:
            data = connection.scalar(select(RUN.c.document).where(RUN.c.number == stored.number))
        try:
            return decode(bytes(data or b""))
        except msgspec.ValidationError as error:
            raise UsageError(
                f"run {stored.id} was stored by hostaudit {stored.version}, in another form: {error}"
            ) from error

    def hosts(self) -> dict[str, tuple[int, int, int]]:
        """Return name -> (number, last run that saw it, last drift run that did; 0: none)."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(HOST.c.name, HOST.c.number, HOST.c.last, HOST.c.reported).order_by(HOST.c.name)
            )
            return {name: (number, last, reported) for name, number, last, reported in rows}

    def seen(self, run: int) -> list[str]:
        """Return the hosts that answered in a run."""
        query = select(HOST.c.name).join(SEEN, SEEN.c.host == HOST.c.number).where(SEEN.c.run == run)
        with self._database.reading() as connection:
            return sorted(connection.scalars(query))

    def spans(self, hosts: Iterable[int]) -> Iterator[tuple[int, dict[str, list[tuple[int, int]]]]]:
        """Yield (host, surface -> [(run from which on, blob)], oldest first), a hundred hosts at a time."""
        all_ = list(hosts)
        for start in range(0, len(all_), SOME):
            some = all_[start : start + SOME]
            query = select(STATE.c.host, STATE.c.surface, STATE.c.run, STATE.c.blob).where(STATE.c.host.in_(some))
            found: dict[int, dict[str, list[tuple[int, int]]]] = {host: {} for host in some}
            with self._database.reading() as connection:
                for host, surface, run, blob in connection.execute(query.order_by(STATE.c.run)):
                    found[host].setdefault(surface, []).append((run, blob))
            yield from found.items()

    def facts_of(self, surface: str, blob: int) -> dict[str, str]:
        """Return the facts of a stored surface; it is decoded once."""
        if blob not in self._facts:
            self._facts[blob] = flat.facts(surface, msgspec.json.decode(self.data(blob))) if blob else {}
            if len(self._facts) > CACHED:
                self._facts.popitem(last=False)
        self._facts.move_to_end(blob)
        return self._facts[blob]

    def data(self, blob: int) -> bytes:
        """Return what is stored of a surface."""
        with self._database.reading() as connection:
            data = connection.scalar(select(BLOB.c.data).where(BLOB.c.number == blob))
        return inflate(bytes(data)) if data is not None else b"null"

    def moving(self, host: int, run: int) -> dict[str, Any]:
        """Return the moving values of a host in a run; empty where it did not answer."""
        query = select(SEEN.c.moving).where(SEEN.c.run == run, SEEN.c.host == host)
        with self._database.reading() as connection:
            data = connection.scalar(query)
        return values_of(bytes(data)) if data is not None else {}

    def snapshots(self, stored: Stored, names: Iterable[str] = ()) -> Iterator[Collected]:
        """Yield what hosts answered in a run, in order of name; surfaces of the moment are missing."""
        numbers = {name: number for name, (number, _, _) in self.hosts().items()}
        seen, wanted = self.seen(stored.number), set(names)
        chosen = {numbers[name]: name for name in seen if not wanted or name in wanted}
        for host, by_surface in self.spans(chosen):
            state = at(by_surface, stored.number)
            parts = {surface: self.data(blob) for surface, blob in state.items() if blob}
            inventory = msgspec.json.decode(parts.pop(INVENTORY, b"{}"))
            with self._database.reading() as connection:
                query = select(SEEN.c.moving).where(SEEN.c.run == stored.number, SEEN.c.host == host)
                moving = bytes(connection.scalar(query) or b"")
            one = Host(chosen[host], tuple(inventory.get("groups", ())), dict(inventory.get("variables", {})))
            yield Collected(one, join(parts, moving), 0.0)

    def since(self, host: int, path: str, now: str, spans: Mapping[str, list[tuple[int, int]]], until: int) -> Since:
        """Return when the fact at ``path`` came to have this value: the first of the runs up to ``until`` that saw it.

        Runs in which its surface was not read are passed over.
        """
        surface = path.partition(".")[0]
        rows = [(run, blob) for run, blob in spans.get(surface, ()) if run <= until and blob]
        first, was = None, ""
        for run, blob in reversed(rows):
            value = self.facts_of(surface, blob).get(path, flat.ABSENT)
            if value != now:
                was = value
                break
            first = run
        if not was:
            return Since()
        limit = first if first is not None else until + 1
        query = select(func.max(SEEN.c.run)).where(SEEN.c.host == host, SEEN.c.run < limit)
        with self._database.reading() as connection:
            before = connection.scalar(query)
        came, last = self._known(first), self._known(before)
        return Since(came.started, came.id, last.started, was, came.finished)

    def _known(self, number: int | None) -> Stored:
        """Return a run by its number; an empty one where there is none, or none any more."""
        if number is not None and number not in self._runs:
            self._runs = {one.number: one for one in self.runs()}
        return self._runs.get(number or 0, Stored(0, "", "", "", "", "", 0, {}))


def at(spans: Mapping[str, list[tuple[int, int]]], run: int) -> dict[str, int]:
    """Return surface -> blob (0: not read) as of a run; what began later counts where nothing older is kept."""
    found = {}
    for surface, rows in spans.items():
        blobs = [blob for start, blob in rows if start <= run]
        if blobs:
            found[surface] = blobs[-1]
    return found


def moment(text: str) -> str:
    """Return a time as runs have it; empty where the text is none."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return ""
    given = given if given.tzinfo else given.replace(tzinfo=UTC)
    return f"{given.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _stored(row: Any) -> Stored:
    plain = {name: row[name] for name in ("number", "id", "kind", "started", "finished", "version", "hosts")}
    return Stored(**plain, counts=msgspec.json.decode(row["counts"]))
