"""Asks many hosts about a change's guard, and ends it there. Every question is a connection of its own.

This is the proof that a host can still be reached: a connection that was open before the change, Ansible's or the
user's ControlMaster, would hide a filter that blocks new ones. paramiko knows no multiplexing.
"""

from __future__ import annotations

import io
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from hostaudit import border, delivery, login
from hostaudit.apply.resume import Guard
from hostaudit.attempt import Attempt
from hostaudit.failures import HostError, excerpt
from hostaudit.local import LocalPipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostaudit.login import Flags
    from hostaudit.model import Host

MOST = 1 << 20
"""Bytes of an answer."""
TICK = 0.2
GRACE = 3.0
"""Seconds between the end of a host's time and giving up its thread."""


class _Call(msgspec.Struct, frozen=True):
    code: int
    out: str = ""
    err: str = ""


class _Event(msgspec.Struct, frozen=True):
    event: str = ""
    at: str = ""
    reason: str = ""
    role: str = ""
    things: list[str] = []


class _Document(msgspec.Struct, frozen=True):
    schema: str
    guard: Guard = Guard.NONE
    log: list[_Event] = []
    call: _Call | None = None
    things: list[tuple[str, str, str | None, str | None, str | None]] = []
    gateways: dict[str, bool] = {}
    seen: Any = None


_DOCUMENT = msgspec.json.Decoder(_Document)
"""Made here, once: made by several threads at the same time it crashes the process, see ``border``."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a confirmed change: what it was, what the change left, what it is. None: absent, or not shown."""

    kind: str
    name: str
    before: str | None
    after: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host said. ``failure`` where it could not be asked."""

    host: str
    guard: Guard = Guard.NONE
    events: tuple[str, ...] = ()
    """Of this host's own log about the change, oldest first."""
    reason: str = ""
    """Of the last ``reverted``: not confirmed within ..., rebooted before ..."""
    code: int | None = None
    """Exit status of the guard's program; None where it was not called. 4: reverted before it could be confirmed."""
    said: str = ""
    things: tuple[Thing, ...] = ()
    gateways: dict[str, bool] = field(default_factory=dict)
    seen: Any = None  # what witness.py saw, not validated yet
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How hosts are reached. Times in seconds."""

    flags: Flags
    configured: Flags
    forks: int = 20
    connect_timeout: float = 10.0
    run_timeout: float = 90.0
    """The guard waits up to a minute for another of its commands."""


def ask(hosts: Sequence[Host], access: Access, *question: str) -> dict[str, Reply]:
    """Put one question (see ``onhost.py``) to all hosts at once. A host's failure is its answer."""
    return _Asking(hosts, access, question).run()


class _Asking:
    """One call of ``ask``. Workers are daemon threads; this one watches their deadlines."""

    def __init__(self, hosts: Sequence[Host], access: Access, question: tuple[str, ...]) -> None:
        self.hosts = hosts
        self.access = access
        self.question = question
        self.waiting = list(reversed(hosts))
        self.answers: dict[str, Reply] = {}
        self.running: dict[str, Attempt] = {}
        self.changed = threading.Condition()

    def run(self) -> dict[str, Reply]:
        for _ in range(min(self.access.forks, len(self.hosts))):
            self._start()
        try:
            with self.changed:
                while len(self.answers) < len(self.hosts):
                    self.changed.wait(TICK)
                    self._end_late()
        finally:
            with self.changed:
                self.waiting.clear()
                unfinished = list(self.running.values())
            for attempt in unfinished:
                attempt.expire()
        return {host.name: self.answers[host.name] for host in self.hosts}

    def _start(self) -> None:
        threading.Thread(target=self._work, daemon=True, name="hostaudit-guard").start()

    def _work(self) -> None:
        while True:
            with self.changed:
                if not self.waiting:
                    return
                host = self.waiting.pop()
                attempt = self.running[host.name] = Attempt()
            answer = _one(host, self.access, self.question, attempt)
            with self.changed:
                if self.running.pop(host.name, None) is None:
                    return  # given up; another thread has taken this one's place
                self.answers[host.name] = answer
                self.changed.notify()

    def _end_late(self) -> None:
        """Close what is late, so that its thread fails; give up a thread that does not even then."""
        now = time.monotonic()
        for name, attempt in list(self.running.items()):
            if attempt.deadline < now and not attempt.expired:
                attempt.expire()
            elif attempt.deadline + GRACE < now:
                self.running.pop(name)
                self.answers[name] = Reply(name, failure=border.text(attempt.late.reason))
                self._start()


def _one(host: Host, access: Access, question: Iterable[str], attempt: Attempt) -> Reply:
    try:
        how = login.resolve(host, access.flags, access.configured)
        request = delivery.Request(
            agent=program(),
            arguments=tuple(question),
            python=how.python or ((sys.executable,) if how.local else ()),
            become=how.become,
            become_user=how.become_user,
            become_password=how.become_password,
            seconds=access.run_timeout,
            max_output=MOST,
        )
        answer = _local(request, how.name, attempt) if how.local else _remote(how, request, access, attempt)
        if answer.code:
            return Reply(host.name, failure=f"the program on {host.name} failed: {excerpt(answer.stderr)!r}")
        return _reply(host.name, _DOCUMENT.decode(answer.body))
    except HostError as failure:
        reason = attempt.late.reason if attempt.expired else failure.reason
        return Reply(host.name, failure=border.text(reason))
    except (msgspec.DecodeError, ValueError) as problem:
        return Reply(host.name, failure=f"its answer is not as agreed: {excerpt(str(problem))}")
    except Exception as bug:  # noqa: BLE001 - one host's trouble is never another's
        return Reply(host.name, failure=f"{type(bug).__name__}: {excerpt(str(bug))}; please report it")


def _reply(host: str, document: _Document) -> Reply:
    call = document.call
    reverted = [e for e in document.log if e.event == "reverted"]
    return Reply(
        host,
        document.guard,
        tuple(excerpt(e.event, 40) for e in document.log),
        reason=excerpt(reverted[-1].reason) if reverted else "",
        code=call.code if call else None,
        said=excerpt(call.err or call.out) if call else "",
        things=tuple(Thing(*(None if v is None else excerpt(v) for v in one)) for one in document.things),  # type: ignore[arg-type] # kind and name are text
        gateways={excerpt(k, 50): v for k, v in document.gateways.items()},
        seen=document.seen,
    )


def _remote(how: login.Login, request: delivery.Request, access: Access, attempt: Attempt) -> delivery.Answer:
    from hostaudit.ssh import connect, route

    connector = connect.Connector(access.connect_timeout)  # of its own: not even a jump host's is shared
    way = route.find(how)
    where = way.hops[-1].where
    try:
        connection = connector.connect(way, attempt)
        try:
            late = f"{where} took the login, but its connection hangs"
            until = attempt.enter(access.run_timeout + GRACE, late) - GRACE
            return connect.deliver(connection, request, where, until)
        finally:
            connect.close(connection)
    finally:
        connector.close()


def _local(request: delivery.Request, name: str, attempt: Attempt) -> delivery.Answer:
    until = attempt.enter(request.seconds + GRACE, f"{name}: no answer") - GRACE
    pipe = LocalPipe(request.command)
    attempt.hold(pipe.kill)
    try:
        return delivery.run(pipe, request, name, until)
    finally:
        pipe.close()


@cache
def program() -> bytes:
    """Return ``onhost.py`` and ``witness.py`` as a zip application."""
    here = resources.files("hostaudit.apply")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in (("__main__.py", "onhost.py"), ("witness.py", "witness.py")):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), (here / file).read_bytes())
    return out.getvalue()
