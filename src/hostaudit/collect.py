"""Reads all hosts at once: every host becomes Collected or Unreachable, whatever happens to it.

Workers are daemon threads, bounded in number, with paced starts: a thread per host at once loses hosts to sshd's and
the controller's own limits. One place, the calling thread, watches the deadline of every host's current step and ends
what is late by closing it, so no blocking call needs to be trusted. It also counts who only waits, for a host that
hangs or for the agent's two samples, and has others begin meanwhile.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from hostaudit import border, delivery, garbage, login
from hostaudit.attempt import Attempt
from hostaudit.failures import HostError, excerpt
from hostaudit.local import LocalPipe
from hostaudit.model import Collected, Host, Unreachable
from hostaudit.task import CollectOptions, Task
from hostaudit.turns import PATIENCE, Turns, idle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostaudit.login import Login
    from hostaudit.ssh.connect import Connector
    from hostaudit.task import Answered
__all__ = ["CollectOptions", "ask", "collect"]

PACE = 0.005
"""Seconds between the starts of two connections."""
GRACE = 3.0
"""Seconds that a host's thread has to end once its time is over; then it is left behind."""

YOUNG = 20_000
"""New objects after which Python's garbage collector looks for circles; its default is for programs that make few."""


def collect(
    hosts: Sequence[Host],
    agent: bytes,
    options: CollectOptions,
    progress: Callable[[Collected | Unreachable], object] | None = None,
    notice: Callable[[str], object] | None = None,
) -> list[Collected | Unreachable]:
    """Return one result per host, in the order of ``hosts``. It never raises for a host.

    ``agent`` is the zip application. ``progress`` gets every result as it comes, on the calling thread. ``notice`` gets
    sentences about settings that are not followed, each once. On KeyboardInterrupt every connection is closed and the
    exception goes on at once.
    """
    task = Task(options.arguments, options.seconds, border.snapshot, made=Collected)
    return _Collection(hosts, agent, options, [task] * len(hosts), notice or _no_notice).run(progress)


def ask(
    jobs: Sequence[tuple[Host, Task]],
    agent: bytes,
    options: CollectOptions,
    progress: Callable[[Answered | Unreachable], object] | None = None,
    notice: Callable[[str], object] | None = None,
) -> list[Answered | Unreachable]:
    """Have each host do its own task; otherwise as ``collect``."""
    hosts, tasks = [host for host, _ in jobs], [task for _, task in jobs]
    return _Collection(hosts, agent, options, tasks, notice or _no_notice).run(progress)


def _no_notice(_text: str) -> None:
    return


def _body(answer: delivery.Answer, where: str) -> bytes:
    """Return what the agent printed. Raises HostError of kind ``agent`` when it failed."""
    if answer.code == 0:
        return answer.body
    said = excerpt(answer.stderr) or "nothing"
    raise HostError("agent", f"the agent on {where} ended with exit code {answer.code}; it said: {said!r}")


class _Collection:
    """One call of ``collect``."""

    def __init__(
        self,
        hosts: Sequence[Host],
        agent: bytes,
        options: CollectOptions,
        tasks: Sequence[Task],
        notice: Callable[[str], object],
    ) -> None:
        self.hosts = hosts
        self.tasks = tasks
        self.agent = agent
        self.options = options
        self.notice = notice
        self.noticed: set[str] = set()
        self.lock = threading.Lock()
        self.waiting = iter(range(len(hosts)))
        self.next_start = 0.0
        self.started: dict[int, tuple[Attempt, float]] = {}
        self.done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.connector: Connector | None = None
        self.turns = Turns(options.forks, len(hosts))

    @garbage.collected_after(YOUNG)  # connections are circular, but few objects of one live long
    def run(self, progress: Callable[[Any], object] | None) -> list[Any]:
        results: dict[int, Any] = {}
        self._start_workers()
        try:
            while len(results) < len(self.hosts):
                for number, result in self._next():
                    if number not in results:
                        results[number] = result
                        if progress:
                            progress(result)
        finally:
            with self.lock:
                self.waiting = iter(())
                unfinished = [attempt for number, (attempt, _) in self.started.items() if number not in results]
            for attempt in unfinished:
                attempt.expire()
            if self.connector is not None:
                self.connector.close()
        return [results[number] for number in range(len(self.hosts))]

    def _next(self) -> list[tuple[int, Any]]:
        """Wait for a result, or until a host is late; return what is to be taken as a result now."""
        with self.lock:
            started = list(self.started.items())
        now = time.monotonic()
        abandoned: list[tuple[int, Any]] = []
        soonest = now + PATIENCE
        if self.turns.due(now):
            spent, spare = time.process_time(), idle()
            with self.lock:
                self.turns.look((a.since for _, (a, _) in started), now, spent, spare)
        self._start_workers()
        for number, (attempt, began) in started:
            if attempt.deadline > now:
                soonest = min(soonest, attempt.deadline)
            elif not attempt.expired:
                attempt.expire()
            elif attempt.deadline + GRACE < now:
                with self.lock:
                    self.started.pop(number, None)
                self._start_worker()  # the late one's thread is stuck; it ends with the process
                late = attempt.late
                abandoned.append((number, self._unreachable(number, late, now - began)))
        if abandoned:
            return abandoned
        try:
            return [self.done.get(timeout=max(0.01, soonest - now))]
        except queue.Empty:
            return []

    def _start_workers(self) -> None:
        with self.lock:
            missing = self.turns.hire()
        for _ in range(missing):
            self._start_worker()

    def _start_worker(self) -> None:
        threading.Thread(target=self._work, daemon=True, name="hostaudit-host").start()

    def _work(self) -> None:
        """Take one host after the other until none is left."""
        while True:
            with self.lock:
                number = next(self.waiting, None) if self.turns.take() else None
                if number is None:
                    return
                start = max(time.monotonic(), self.next_start)
                self.next_start = start + PACE
            time.sleep(max(0.0, start - time.monotonic()))
            attempt, began = Attempt(), time.monotonic()
            with self.lock:
                self.started[number] = (attempt, began)
            result = self._one(number, attempt, began)
            with self.lock:
                abandoned = self.started.pop(number, None) is None
            if abandoned:
                return  # another worker has taken this one's place
            self.done.put((number, result))

    def _one(self, number: int, attempt: Attempt, began: float) -> Any:
        """Read one host. Whatever goes wrong is its result."""
        host, task = self.hosts[number], self.tasks[number]
        try:
            how = login.resolve(host, self.options.flags, self.options.configured)
            answer = self._local(how, attempt, task) if how.local else self._remote(how, attempt, task)
            value = task.decode(_body(answer, host.name), host.name)
        except HostError as failure:
            reason = attempt.late if attempt.expired else failure
            return self._unreachable(number, reason, time.monotonic() - began)
        except Exception as bug:  # noqa: BLE001 - one host's trouble is never another's
            reason = HostError("agent", f"internal error: {type(bug).__name__}: {excerpt(str(bug))}; please report it")
            return self._unreachable(number, attempt.late if attempt.expired else reason, time.monotonic() - began)
        return task.made(host, value, round(time.monotonic() - began, 3))

    def _unreachable(self, number: int, failure: HostError, seconds: float) -> Unreachable:
        return Unreachable(self.hosts[number], failure.kind, border.text(failure.reason), round(seconds, 3))

    def _request(self, how: Login, task: Task, python: tuple[str, ...]) -> delivery.Request:
        options = self.options
        return delivery.Request(
            agent=self.agent,
            arguments=task.arguments,
            python=python,
            become=how.become,
            become_user=how.become_user,
            become_password=how.become_password,
            seconds=task.seconds,
            max_output=options.max_output,
            live=task.live,
        )

    def _local(self, how: Login, attempt: Attempt, task: Task) -> delivery.Answer:
        request = self._request(how, task, how.python or (sys.executable,))
        until = attempt.enter(task.seconds + GRACE, f"{how.name}: the agent did not end in time") - GRACE
        pipe = LocalPipe(request.command)
        attempt.hold(pipe.kill)
        try:
            return delivery.run(pipe, request, how.name, until)
        finally:
            pipe.close()

    def _remote(self, how: Login, attempt: Attempt, task: Task) -> delivery.Answer:
        from hostaudit.ssh import connect, route

        with self.lock:
            connector = self.connector = self.connector or connect.Connector(self.options.connect_timeout)
        way = route.find(how)
        for setting in way.ignored:
            self._notice_once(f"{setting} is not followed by this program")
        connection = connector.connect(way, attempt)
        where = way.hops[-1].where
        request = self._request(how, task, how.python)
        try:
            # ``delivery`` knows best what is late and says so first; the watch is for what blocks below it.
            late = f"{where} took the login, but its connection hangs: no answer within {task.seconds:g} s"
            until = attempt.enter(task.seconds + GRACE, late) - GRACE
            return connect.deliver(connection, request, where, until)
        finally:
            connect.close(connection)

    def _notice_once(self, text: str) -> None:
        with self.lock:
            if text in self.noticed:
                return
            self.noticed.add(text)
        self.notice(text)
